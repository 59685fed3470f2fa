{{/* How the schema registry is spoken to, but for secrets: those are files, which are read again at each request. */}}
{{- define "headrace.registrySettings" -}}
{{- with .Values.schemaRegistry }}
{{- if .url }}
HEADRACE_SCHEMA_REGISTRY_URL: {{ .url | quote }}
{{- if .existingSecret }}
{{- if .tokenKey }}
HEADRACE_SCHEMA_REGISTRY_TOKEN_FILE: /etc/headrace/registry-access/token
{{- else }}
HEADRACE_SCHEMA_REGISTRY_PASSWORD_FILE: /etc/headrace/registry-access/password
{{- end }}
{{- end }}
{{- if .caSecret }}
HEADRACE_SCHEMA_REGISTRY_TLS_CA_FILE: /etc/headrace/registry-ca/ca.crt
{{- end }}
{{- if .clientCertSecret }}
HEADRACE_SCHEMA_REGISTRY_TLS_CERT_FILE: /etc/headrace/registry-client/tls.crt
HEADRACE_SCHEMA_REGISTRY_TLS_KEY_FILE: /etc/headrace/registry-client/tls.key
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A name is read at the start only: it has no file. */}}
{{- define "headrace.registryUsername" -}}
{{- with .Values.schemaRegistry }}
{{- if and .existingSecret (not .tokenKey) }}
- name: HEADRACE_SCHEMA_REGISTRY_USERNAME
  valueFrom:
    secretKeyRef: { name: {{ .existingSecret | quote }}, key: {{ .usernameKey | quote }} }
{{- end }}
{{- end }}
{{- end -}}

{{- define "headrace.registryVolumes" -}}
{{- with .Values.schemaRegistry }}
{{- if .existingSecret }}
- name: registry-access
  secret:
    secretName: {{ .existingSecret | quote }}
    {{- if .tokenKey }}
    items: [{ key: {{ .tokenKey | quote }}, path: token }]
    {{- else }}
    items: [{ key: {{ .passwordKey | quote }}, path: password }]
    {{- end }}
{{- end }}
{{- if .caSecret }}
- name: registry-ca
  secret:
    secretName: {{ .caSecret | quote }}
    items: [{ key: {{ .caKey | quote }}, path: ca.crt }]
{{- end }}
{{- if .clientCertSecret }}
- name: registry-client
  secret:
    secretName: {{ .clientCertSecret | quote }}
    items: [{ key: tls.crt, path: tls.crt }, { key: tls.key, path: tls.key }]
{{- end }}
{{- end }}
{{- end -}}

{{- define "headrace.registryVolumeMounts" -}}
{{- range include "headrace.registryVolumes" . | fromYamlArray }}
- { name: {{ .name }}, mountPath: /etc/headrace/{{ .name }}, readOnly: true }
{{- end }}
{{- end -}}
