{{/* How Kafka is spoken to, but for secrets: those are files, which are read again for each connection. */}}
{{- define "worker.kafkaSecurity" -}}
{{- with .Values.kafka.tls }}
{{- if .enabled }}
HEADRACE_KAFKA_TLS: 'on'
{{- if .caSecret }}
HEADRACE_KAFKA_TLS_CA_FILE: /etc/headrace/kafka-ca/ca.crt
{{- end }}
{{- if .clientCertSecret }}
HEADRACE_KAFKA_TLS_CERT_FILE: /etc/headrace/kafka-client/tls.crt
HEADRACE_KAFKA_TLS_KEY_FILE: /etc/headrace/kafka-client/tls.key
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.kafka.sasl }}
{{- if .mechanism }}
HEADRACE_KAFKA_SASL_MECHANISM: {{ .mechanism }}
{{- if eq .mechanism "oauthbearer" }}
HEADRACE_KAFKA_OAUTH_TOKEN_URL: {{ .oauth.tokenUrl | quote }}
HEADRACE_KAFKA_OAUTH_CLIENT_ID: {{ .oauth.clientId | quote }}
HEADRACE_KAFKA_OAUTH_CLIENT_SECRET_FILE: /etc/headrace/kafka-sasl/client-secret
{{- with .oauth.scope }}
HEADRACE_KAFKA_OAUTH_SCOPE: {{ . | quote }}
{{- end }}
{{- else }}
HEADRACE_KAFKA_SASL_PASSWORD_FILE: /etc/headrace/kafka-sasl/password
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A name is read at the start only: it has no file. */}}
{{- define "worker.kafkaUsername" -}}
{{- with .Values.kafka.sasl }}
{{- if and .mechanism (ne .mechanism "oauthbearer") }}
- name: HEADRACE_KAFKA_SASL_USERNAME
  valueFrom:
    secretKeyRef: { name: {{ .existingSecret | quote }}, key: {{ .usernameKey | quote }} }
{{- end }}
{{- end }}
{{- end -}}

{{- define "worker.kafkaVolumes" -}}
{{- with .Values.kafka.tls }}
{{- if .caSecret }}
- name: kafka-ca
  secret:
    secretName: {{ .caSecret | quote }}
    items: [{ key: {{ .caKey | quote }}, path: ca.crt }]
{{- end }}
{{- if .clientCertSecret }}
- name: kafka-client
  secret:
    secretName: {{ .clientCertSecret | quote }}
    items: [{ key: tls.crt, path: tls.crt }, { key: tls.key, path: tls.key }]
{{- end }}
{{- end }}
{{- with .Values.kafka.sasl }}
{{- if .mechanism }}
- name: kafka-sasl
  secret:
    secretName: {{ .existingSecret | quote }}
    {{- if eq .mechanism "oauthbearer" }}
    items: [{ key: {{ .oauth.clientSecretKey | quote }}, path: client-secret }]
    {{- else }}
    items: [{ key: {{ .passwordKey | quote }}, path: password }]
    {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "worker.kafkaVolumeMounts" -}}
{{- range include "worker.kafkaVolumes" . | fromYamlArray }}
- { name: {{ .name }}, mountPath: /etc/headrace/{{ .name }}, readOnly: true }
{{- end }}
{{- end -}}
