{{/* The pod of all three modes. */}}
{{- define "tallyd.podTemplate" -}}
metadata:
  annotations:
    kubectl.kubernetes.io/default-container: tallyd
    {{- if .Values.restartOnConfigChange }}
    checksum/config: {{ .Values.config | toYaml | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "tallyd.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "tallyd.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if ne .Values.mode "sidecar" }}
  # Not beside an engine of its own: the kubelet would change the owners of all its image layers.
  securityContext:
    fsGroup: {{ .Values.runAs.group }}
    fsGroupChangePolicy: OnRootMismatch
    {{- if eq .Values.mode "daemonset" }}
    supplementalGroups: [{{ int .Values.daemonset.socketGroup }}]
    {{- end }}
  {{- else if .Values.secretsKey.existingSecret }}
  # The file of keys belongs to root's group, since the pod has no fsGroup, and must not be open to everybody.
  securityContext:
    supplementalGroups: [0]
  {{- end }}
  {{- with include "tallyd.initContainers" . | trim }}
  initContainers:
    {{- . | nindent 4 }}
  {{- end }}
  containers:
    - name: tallyd
      image: {{ include "tallyd.image" (dict "image" .Values.image "default" .Chart.AppVersion) }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [run]
      env:
        {{- include "tallyd.env" . | nindent 8 }}
      ports:
        - name: http
          containerPort: {{ .Values.port }}
      startupProbe:
        httpGet: {path: /-/healthy, port: http}
        {{- toYaml .Values.probes.startup | nindent 8 }}
      livenessProbe:
        httpGet: {path: /-/healthy, port: http}
        {{- toYaml .Values.probes.liveness | nindent 8 }}
      readinessProbe:
        httpGet: {path: /-/ready, port: http}
        {{- toYaml .Values.probes.readiness | nindent 8 }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- include "tallyd.securityContext" . | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/tallyd
          readOnly: true
        - name: state
          mountPath: /var/lib/tallyd
        {{- if eq .Values.mode "remote" }}
        {{- if .Values.remote.tls.enabled }}
        - name: engine-tls
          mountPath: /run/engine-tls
          readOnly: true
        {{- end }}
        {{- else }}
        - name: engine-socket
          mountPath: /run/engine
          readOnly: true
        {{- end }}
        {{- if include "tallyd.hasSecrets" . }}
        - name: secrets
          mountPath: /run/tallyd-secrets
          readOnly: true
        {{- end }}
        {{- if .Values.secretsKey.existingSecret }}
        - name: secrets-key
          mountPath: /run/tallyd-keys
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- if eq .Values.mode "sidecar" }}
    {{- with .Values.sidecar.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
  volumes:
    {{- include "tallyd.volumes" . | nindent 4 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "tallyd.env" -}}
- name: TALLYD_HOST
  {{- if eq .Values.mode "daemonset" }}
  valueFrom:
    fieldRef: {fieldPath: spec.nodeName}
  {{- else }}
  value: {{ .Values.host | default (include "tallyd.fullname" .) | quote }}
  {{- end }}
- name: TALLYD_LISTEN
  value: {{ printf "0.0.0.0:%d" (int .Values.port) | quote }}
- name: TALLYD_CONFIG
  value: /etc/tallyd/tallyd.yaml
{{- if eq .Values.mode "remote" }}
- name: DOCKER_HOST
  value: {{ .Values.remote.dockerHost | quote }}
{{- if .Values.remote.tls.enabled }}
- name: DOCKER_TLS_VERIFY
  value: "1"
- name: DOCKER_CERT_PATH
  value: /run/engine-tls
{{- end }}
{{- else }}
- name: DOCKER_HOST
  value: unix:///run/engine/{{ ternary .Values.daemonset.socketName "docker.sock" (eq .Values.mode "daemonset") }}
{{- end }}
{{- if eq .Values.store.kind "postgresql" }}
- name: TALLYD_DATABASE_URL_FILE
  value: /run/tallyd-secrets/database-url
{{- else }}
- name: TALLYD_DATABASE_URL
  value: sqlite:////var/lib/tallyd/tallyd.db
{{- end }}
{{- if .Values.apiToken.existingSecret }}
- name: TALLYD_API_TOKEN_FILE
  value: /run/tallyd-secrets/api-token
{{- end }}
{{- if .Values.reloadToken.existingSecret }}
- name: TALLYD_RELOAD_TOKEN_FILE
  value: /run/tallyd-secrets/reload-token
{{- end }}
{{- if .Values.secretsKey.existingSecret }}
- name: TALLYD_SECRETS_KEY_FILE
  value: /run/tallyd-keys/keys
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "tallyd.initContainers" -}}
{{- if include "tallyd.preparesState" . }}
# A hostPath directory, or a volume in a pod without fsGroup, belongs to root.
- name: prepare-state
  image: {{ include "tallyd.image" (dict "image" .Values.image "default" .Chart.AppVersion) }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [chown, "{{ .Values.runAs.user }}:{{ .Values.runAs.group }}", /var/lib/tallyd]
  securityContext:
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL], add: [CHOWN]}
    privileged: false
    readOnlyRootFilesystem: true
    runAsGroup: 0
    runAsNonRoot: false
    runAsUser: 0
    seccompProfile: {type: RuntimeDefault}
  volumeMounts:
    - name: state
      mountPath: /var/lib/tallyd
{{- end }}
{{- if eq .Values.mode "sidecar" }}
- name: engine
  image: {{ include "tallyd.image" (dict "image" .Values.sidecar.image "default" "") }}
  imagePullPolicy: {{ .Values.sidecar.image.pullPolicy }}
  # An init container that restarts is a native sidecar: up before the controller, ended after it.
  restartPolicy: Always
  args:
    - dockerd
    - --host=unix:///run/engine/docker.sock
    - --group={{ .Values.runAs.group }}
    {{- range .Values.sidecar.extraArgs }}
    - {{ . | quote }}
    {{- end }}
  startupProbe:
    exec: {command: [docker, "--host=unix:///run/engine/docker.sock", version]}
    periodSeconds: 2
    failureThreshold: 60
    timeoutSeconds: 5
  {{- with .Values.sidecar.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  # An engine within a container cannot do without it; keep the namespace apart.
  securityContext: {privileged: true}
  volumeMounts:
    - name: engine-socket
      mountPath: /run/engine
    - name: engine-data
      mountPath: /var/lib/docker
{{- end }}
{{- end }}

{{- define "tallyd.preparesState" -}}
{{- $sqlite := .Values.store.sqlite -}}
{{- if and (eq .Values.store.kind "sqlite") $sqlite.prepareDirectory -}}
{{- if or (eq .Values.mode "daemonset") (and (eq .Values.mode "sidecar") $sqlite.persistent) }}yes{{ end }}
{{- end }}
{{- end }}

{{- define "tallyd.volumes" -}}
- name: config
  configMap:
    name: {{ include "tallyd.fullname" . }}
- name: state
  {{- if eq .Values.store.kind "postgresql" }}
  emptyDir: {sizeLimit: 64Mi}
  {{- else if eq .Values.mode "daemonset" }}
  hostPath: {path: {{ .Values.store.sqlite.hostDirectory | quote }}, type: DirectoryOrCreate}
  {{- else if .Values.store.sqlite.persistent }}
  persistentVolumeClaim:
    claimName: {{ .Values.store.sqlite.existingClaim | default (include "tallyd.fullname" .) }}
  {{- else }}
  emptyDir: {sizeLimit: {{ .Values.store.sqlite.size }}}
  {{- end }}
{{- if eq .Values.mode "sidecar" }}
- name: engine-socket
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
- name: engine-data
  {{- if .Values.sidecar.storage.persistent }}
  persistentVolumeClaim:
    claimName: {{ include "tallyd.fullname" . }}-engine
  {{- else }}
  emptyDir: {sizeLimit: {{ .Values.sidecar.storage.size }}}
  {{- end }}
{{- else if eq .Values.mode "daemonset" }}
- name: engine-socket
  hostPath: {path: {{ .Values.daemonset.socketDirectory | quote }}, type: Directory}
{{- else if .Values.remote.tls.enabled }}
- name: engine-tls
  secret:
    secretName: {{ .Values.remote.tls.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- if include "tallyd.hasSecrets" . }}
- name: secrets
  projected:
    # Readable by the controller's group; in mode sidecar the pod has no fsGroup.
    defaultMode: {{ ternary "0444" "0440" (eq .Values.mode "sidecar") }}
    sources:
      {{- if eq .Values.store.kind "postgresql" }}
      - secret:
          name: {{ .Values.store.postgresql.existingSecret }}
          items: [{key: {{ .Values.store.postgresql.secretKey }}, path: database-url}]
      {{- end }}
      {{- with .Values.apiToken }}
      {{- if .existingSecret }}
      - secret:
          name: {{ .existingSecret }}
          items: [{key: {{ .secretKey }}, path: api-token}]
      {{- end }}
      {{- end }}
      {{- with .Values.reloadToken }}
      {{- if .existingSecret }}
      - secret:
          name: {{ .existingSecret }}
          items: [{key: {{ .secretKey }}, path: reload-token}]
      {{- end }}
      {{- end }}
{{- end }}
{{- with .Values.secretsKey }}
{{- if .existingSecret }}
- name: secrets-key
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items: [{key: {{ .secretKey }}, path: keys}]
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
