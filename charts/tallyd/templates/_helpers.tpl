{{- define "tallyd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "tallyd.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "tallyd.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "tallyd.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "tallyd.selector" -}}
app.kubernetes.io/name: {{ include "tallyd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tallyd.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "tallyd.selector" . }}
app.kubernetes.io/component: controller
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "tallyd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "tallyd.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "tallyd.image" -}}
{{- $tag := .image.tag | default .default -}}
{{- printf "%s:%s" .image.repository $tag }}{{ with .image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* What the schema cannot say: what one value demands of another. */}}
{{- define "tallyd.validate" -}}
{{- $mode := .Values.mode -}}
{{- $store := .Values.store -}}
{{- if and (eq $mode "sidecar") (semverCompare "<1.29.0-0" .Capabilities.KubeVersion.Version) }}
{{- fail (printf "mode sidecar needs native sidecars, which Kubernetes has from 1.29 on; this cluster is %s. Use mode daemonset or remote." .Capabilities.KubeVersion.Version) }}
{{- end }}
{{- if and (eq $mode "daemonset") (kindIs "invalid" .Values.daemonset.socketGroup) }}
{{- fail "mode daemonset needs daemonset.socketGroup, the number of the group that owns the engine's socket. On a node: stat -c %g /var/run/docker.sock" }}
{{- end }}
{{- if eq $mode "remote" }}
{{- if not .Values.remote.dockerHost }}
{{- fail "mode remote needs remote.dockerHost, such as tcp://engine.example:2376" }}
{{- end }}
{{- if and .Values.remote.tls.enabled (not .Values.remote.tls.existingSecret) }}
{{- fail "mode remote needs remote.tls.existingSecret, a Secret with ca.pem, cert.pem and key.pem; only for a socket proxy within the cluster set remote.tls.enabled=false" }}
{{- end }}
{{- end }}
{{- if and (eq $store.kind "postgresql") (not $store.postgresql.existingSecret) }}
{{- fail "store.kind postgresql needs store.postgresql.existingSecret, a Secret with the store's URL under the key of store.postgresql.secretKey" }}
{{- end }}
{{- if and (ne $mode "daemonset") (gt (int .Values.replicas) 1) }}
{{- if eq $store.kind "sqlite" }}
{{- fail (printf "replicas is %d, but a SQLite store has one writer: set replicas to 1, or store.kind to postgresql" (int .Values.replicas)) }}
{{- end }}
{{- if eq $mode "sidecar" }}
{{- fail (printf "replicas is %d, but in mode sidecar every pod has an engine of its own: install the chart once for each engine" (int .Values.replicas)) }}
{{- end }}
{{- end }}
{{- if and .Values.host (eq $mode "daemonset") }}
{{- fail "host cannot be set in mode daemonset: each node's engine has the node's name" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled }}
{{- fail "metrics.serviceMonitor and metrics.podMonitor are both enabled: everything would be scraped twice; keep one" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (eq $mode "daemonset") }}
{{- fail "mode daemonset has a controller on each node: use metrics.podMonitor instead of metrics.serviceMonitor" }}
{{- end }}
{{- end }}

{{- define "tallyd.securityContext" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
privileged: false
readOnlyRootFilesystem: true
runAsGroup: {{ .Values.runAs.group }}
runAsNonRoot: true
runAsUser: {{ .Values.runAs.user }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tallyd.hasSecrets" -}}
{{- if or .Values.apiToken.existingSecret .Values.reloadToken.existingSecret (eq .Values.store.kind "postgresql") }}yes{{ end }}
{{- end }}
