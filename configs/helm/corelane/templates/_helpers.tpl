{{- define "corelane.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* No longer than 52: a StatefulSet's pods carry its name in a label, with eleven characters more. */}}
{{- define "corelane.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := include "corelane.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "corelane.selector" -}}
app.kubernetes.io/name: {{ include "corelane.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "corelane.labels" -}}
{{ include "corelane.selector" . }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "corelane.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "corelane.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "corelane.secretName" -}}
{{- default (include "corelane.fullname" .) .Values.auth.existingSecret }}
{{- end }}

{{- define "corelane.secretKey" -}}
{{- if .Values.auth.existingSecret }}{{ .Values.auth.existingSecretKey }}{{ else }}password{{ end }}
{{- end }}

{{- /* A command of probes. */}}
{{- define "corelane.ping" -}}
/usr/local/bin/corelane, ping
{{- if .Values.tls.enabled }}, --tls
{{- if .Values.tls.requireClientCertificates }}, --cert, /tls/tls.crt, --key, /tls/tls.key{{ end }}
{{- end }}
{{- end }}
