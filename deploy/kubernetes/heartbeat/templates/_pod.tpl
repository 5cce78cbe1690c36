{{- define "heartbeat.pod" -}}
restartPolicy: {{ .restart }}
serviceAccountName: {{ .root.Release.Name }}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
containers:
  - name: {{ .name }}
    image: {{ .root.Values.image | quote }}
    args: {{ toJson .args }}
    {{- if .ports }}
    ports:
      {{- toYaml .ports | nindent 6 }}
    {{- end }}
    env:
      - name: DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION
        value: "True"
      - name: DASK_DISTRIBUTED__COMM__TLS__CA_FILE
        value: /certs/ca.pem
      {{- range list "SCHEDULER" "WORKER" "CLIENT" }}
      - name: DASK_DISTRIBUTED__COMM__TLS__{{ . }}__CERT
        value: /certs/cert.pem
      - name: DASK_DISTRIBUTED__COMM__TLS__{{ . }}__KEY
        value: /certs/key.pem
      {{- end }}
      - name: DASK_SCHEDULER_ADDRESS
        value: tls://{{ .root.Release.Name }}-scheduler.{{ .root.Release.Namespace }}.svc:8786
      {{- with .root.Values.env }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- if .healthy }}
    {{- range $probe, $period := dict "readinessProbe" 10 "livenessProbe" 30 }}
    {{ $probe }}:
      exec:
        command:
          - python
          - -c
          - import urllib.request as r; r.urlopen('http://127.0.0.1:8787/health', timeout=5)
      initialDelaySeconds: 10
      periodSeconds: {{ $period }}
      timeoutSeconds: 10
      failureThreshold: 6
    {{- end }}
    {{- end }}
    resources:
      {{- toYaml .resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
    volumeMounts:
      - name: tmp
        mountPath: /tmp
      - name: certs
        mountPath: /certs
        readOnly: true
volumes:
  - name: tmp
    emptyDir: {}
  - name: certs
    secret:
      secretName: {{ .root.Values.tlsSecret }}
      defaultMode: 0440
{{- end }}
