"""What a person judges, and the verdicts that come back.

``choosing`` takes recordings from the results, ``picture`` draws them, ``page`` makes one HTML page of them and
``exports`` the same list for Label Studio, Audacity and spreadsheets. ``verdicts`` reads what comes back of each.
"""
