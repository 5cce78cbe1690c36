# What a node needs before it can run heartbeat. All jobs of this folder read this file: change it for your cluster.
# module load python/3.11
source "$HOME/heartbeat/.venv/bin/activate"
