{{- define "headrace.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "headrace.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{/* HEADRACE_DATABASE_URL from a secret: (secret, key) */}}
{{- define "headrace.databaseEnv" -}}
- name: HEADRACE_DATABASE_URL
  valueFrom:
    secretKeyRef: { name: {{ .secret | quote }}, key: {{ .key | quote }} }
{{- end -}}

{{/* The password, where the URL has none. */}}
{{- define "headrace.passwordEnv" -}}
{{- if .Values.postgres.passwordKey }}
- { name: HEADRACE_DATABASE_PASSWORD_FILE, value: /etc/headrace/postgres-password/password }
{{- end }}
{{- end -}}

{{- define "headrace.passwordVolume" -}}
{{- with .Values.postgres.passwordKey }}
- name: postgres-password
  secret:
    secretName: {{ $.Values.postgres.existingSecret | quote }}
    items: [{ key: {{ . | quote }}, path: password }]
{{- end }}
{{- end -}}

{{- define "headrace.passwordVolumeMount" -}}
{{- if .Values.postgres.passwordKey }}
- { name: postgres-password, mountPath: /etc/headrace/postgres-password, readOnly: true }
{{- end }}
{{- end -}}

{{- define "headrace.volumes" -}}
- name: tmp
  emptyDir: { sizeLimit: 256Mi }
{{- with .Values.postgres.caSecret }}
- name: postgres-ca
  secret:
    secretName: {{ . | quote }}
    items: [{ key: {{ $.Values.postgres.caKey | quote }}, path: ca.crt }]
{{- end }}
{{- end -}}

{{- define "headrace.volumeMounts" -}}
- { name: tmp, mountPath: /tmp }
{{- if .Values.postgres.caSecret }}
- { name: postgres-ca, mountPath: /etc/headrace/postgres, readOnly: true }
{{- end }}
{{- end -}}

{{- define "headrace.migrateContainer" -}}
- name: migrate
  image: {{ include "headrace.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [migrate]
  env:
    {{- $secret := default (include "headrace.postgresSecret" .) .Values.migrations.existingSecret }}
    {{- $key := ternary .Values.migrations.urlKey (include "headrace.postgresUrlKey" .) (ne .Values.migrations.existingSecret "") }}
    {{- include "headrace.databaseEnv" (dict "secret" $secret "key" $key) | nindent 4 }}
    {{- if not .Values.migrations.existingSecret }}
    {{- include "headrace.passwordEnv" . | indent 4 }}
    {{- end }}
    {{- with .Values.postgres.schema }}
    - { name: HEADRACE_DATABASE_SCHEMA, value: {{ . | quote }} }
    {{- end }}
    - { name: HEADRACE_LOG_LEVEL, value: {{ .Values.logLevel }} }
  securityContext:
    {{- include "headrace.containerSecurity" . | nindent 4 }}
  resources:
    {{- toYaml .Values.migrations.resources | nindent 4 }}
  volumeMounts:
    {{- include "headrace.volumeMounts" . | nindent 4 }}
    {{- if not .Values.migrations.existingSecret }}
    {{- include "headrace.passwordVolumeMount" . | indent 4 }}
    {{- end }}
{{- end -}}

{{/* What one app is told besides the common settings: (root, component) */}}
{{- define "headrace.appEnv" -}}
{{- $fullname := include "headrace.fullname" .root -}}
{{- if eq .component "gateway" -}}
- { name: HEADRACE_ORCHESTRATOR_URL, value: {{ printf "http://%s-orchestrator:8082" $fullname }} }
- { name: HEADRACE_INFLIGHT_BYTES_MAX, value: {{ .root.Values.gateway.inflightBytesMax | int64 | toString | quote }} }
- { name: HEADRACE_INFLIGHT_EVENTS_MAX, value: {{ .root.Values.gateway.inflightEventsMax | int64 | toString | quote }} }
{{- else if eq .component "orchestrator" -}}
# The service, not the pod: any orchestrator answers any worker, and this address outlives each of them.
- { name: HEADRACE_ORCHESTRATOR_ADVERTISED_URL, value: {{ printf "http://%s-orchestrator.%s.svc:8082" $fullname .root.Release.Namespace }} }
- { name: HEADRACE_MIGRATE, value: 'off' }
- { name: HEADRACE_SCHEMA_REGISTER, value: {{ .root.Values.eventTypes.register }} }
{{- else -}}
- { name: HEADRACE_FLUSH_PROGRESS_INTERVAL, value: {{ .root.Values.triggerService.flushProgressInterval }} }
- { name: HEADRACE_QUEUED_RUNS_MAX, value: {{ .root.Values.triggerService.queuedRunsMax | int | quote }} }
{{- end }}
{{- with .root.Values.tracing }}
{{- if and .endpoint (ne $.component "orchestrator") }}
- { name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ .endpoint | quote }} }
{{- if .headersSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef: { name: {{ .headersSecret | quote }}, key: {{ .headersKey | quote }} }
{{- end }}
{{- end }}
{{- end }}
{{- if ne .component "gateway" }}
{{ include "headrace.databaseEnv" (dict "secret" (include "headrace.postgresSecret" .root) "key" (include "headrace.postgresUrlKey" .root)) }}
{{- include "headrace.passwordEnv" .root }}
{{- end }}
{{- end -}}
