{{- define "headrace.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters: the longest part that follows is "-trigger-service". */}}
{{- define "headrace.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "headrace.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "headrace.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "headrace.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "headrace.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What never changes in the life of a release: (root, component). */}}
{{- define "headrace.selector" -}}
app.kubernetes.io/name: {{ include "headrace.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* (root, component) */}}
{{- define "headrace.labels" -}}
{{ include "headrace.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: headrace
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name (.root.Chart.Version | replace "+" "_") }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "headrace.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{- define "headrace.brokers" -}}
{{- if .Values.demo.enabled -}}
{{ include "headrace.fullname" . }}-demo-kafka:9092
{{- else -}}
{{ join "," .Values.kafka.brokers }}
{{- end -}}
{{- end -}}

{{- define "headrace.postgresSecret" -}}
{{- if .Values.demo.enabled -}}
{{ include "headrace.fullname" . }}-demo
{{- else -}}
{{ .Values.postgres.existingSecret }}
{{- end -}}
{{- end -}}

{{- define "headrace.postgresUrlKey" -}}
{{- if .Values.demo.enabled -}}url{{- else -}}{{ .Values.postgres.urlKey }}{{- end -}}
{{- end -}}

{{/* A hook runs before the demo's Postgres is there. */}}
{{- define "headrace.migrationMode" -}}
{{- if and .Values.demo.enabled (eq .Values.migrations.mode "hook") -}}init{{- else -}}{{ .Values.migrations.mode }}{{- end -}}
{{- end -}}

{{- define "headrace.apps" -}}
gateway: { values: gateway, managementPort: 9080, port: 8080, postgres: false }
orchestrator: { values: orchestrator, managementPort: 9082, port: 8082, postgres: true }
trigger-service: { values: triggerService, managementPort: 9081, postgres: true }
{{- end -}}
