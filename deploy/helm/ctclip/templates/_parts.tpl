{{/* What all pods share. A process is told by a dictionary: root, name, image, command, secrets, settings, ... */}}

{{- define "ctclip.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "ctclip.labels" -}}
app.kubernetes.io/name: ctclip
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "ctclip.selector" -}}
app.kubernetes.io/name: ctclip
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "ctclip.image" -}}
{{- $registry := ternary (printf "%s/" .root.Values.images.registry) "" (ne .root.Values.images.registry "") -}}
{{- if .image.digest -}}
{{ $registry }}{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ $registry }}{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "ctclip.environment" -}}
- {name: CTCLIP_SECRETS_DIR, value: /etc/ctclip/secrets}
- {name: CTCLIP_STORAGE_ENDPOINT, value: {{ .root.Values.storage.endpoint | quote }}}
- {name: CTCLIP_STORAGE_SECURE, value: {{ .root.Values.storage.secure | quote }}}
- {name: CTCLIP_STORAGE_BUCKET, value: {{ .root.Values.storage.bucket | quote }}}
- {name: CTCLIP_STORAGE_REGION, value: {{ .root.Values.storage.region | quote }}}
- {name: CTCLIP_WEIGHTS_PROFILE, value: {{ .root.Values.weights.profile | quote }}}
- {name: CTCLIP_METRICS_PORT, value: "9100"}
{{- range $name, $value := merge (dict) (.settings | default dict) .root.Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- define "ctclip.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- $selector := merge (dict) (ternary .root.Values.gpu.nodeSelector dict (.gpu | default false)) .root.Values.nodeSelector }}
{{- with $selector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- $tolerations := concat (ternary .root.Values.gpu.tolerations list (.gpu | default false)) .root.Values.tolerations }}
{{- with $tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: secrets
    secret:
      secretName: {{ .root.Values.existingSecret }}
      defaultMode: 0440
      items:
        {{- range .secrets }}
        - {key: {{ . }}, path: {{ . }}}
        {{- end }}
  - name: tmp
    emptyDir: {sizeLimit: {{ .root.Values.scratch.sizeLimit }}}
  {{- if .hasWeights }}
  - name: cache
    emptyDir: {sizeLimit: {{ .root.Values.cache.sizeLimit }}}
  - name: weights
    persistentVolumeClaim: {claimName: {{ .root.Values.weights.existingClaim }}, readOnly: true}
  {{- end }}
{{- end -}}

{{- define "ctclip.container" -}}
image: {{ include "ctclip.image" . }}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
args: {{ toJson .command }}
env: {{ include "ctclip.environment" . | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: secrets, mountPath: /etc/ctclip/secrets, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  {{- if .hasWeights }}
  - {name: cache, mountPath: /var/cache/ctclip}
  - {name: weights, mountPath: {{ ternary "/app/model_weights/demo" "/weights" (eq .root.Values.weights.profile "demo") }}, readOnly: true}
  {{- end }}
{{- end -}}

{{/* A process that is no server: ready once it says so, alive while it answers with its metrics. */}}
{{- define "ctclip.background" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "ctclip.name" .root }}-{{ .name }}
  labels: {{ include "ctclip.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
spec:
  {{- if not .isScaled }}
  replicas: {{ .replicas }}
  {{- end }}
  selector:
    matchLabels: {{ include "ctclip.selector" . | nindent 6 }}
  strategy:
    {{- if .gpu }}
    # There may be no second GPU for a new one to get ready on.
    rollingUpdate: {maxSurge: 0, maxUnavailable: 1}
    {{- else }}
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
    {{- end }}
  template:
    metadata:
      labels: {{ include "ctclip.labels" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .name }}
        ctclip/role: {{ .role }}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "9100"
    spec:
      # A stopping worker ends its stages or hands them back within the grace; the rest is for letting go.
      terminationGracePeriodSeconds: {{ add .root.Values.shutdownGraceSeconds 20 }}
      {{- include "ctclip.pod" . | nindent 6 }}
      containers:
        - name: {{ .name }}
          {{- include "ctclip.container" . | nindent 10 }}
          ports:
            - {name: metrics, containerPort: 9100}
          startupProbe:
            exec: {command: [test, -f, /tmp/ready]}
            periodSeconds: 5
            failureThreshold: 240
          readinessProbe:
            exec: {command: [test, -f, /tmp/ready]}
            periodSeconds: 10
          livenessProbe:
            httpGet: {path: /metrics, port: metrics}
            periodSeconds: 30
            timeoutSeconds: 10
            failureThreshold: 4
          lifecycle:
            # It takes no more work from here on, and must not look as if it did.
            preStop:
              exec: {command: [rm, -f, /tmp/ready]}
          resources:
            requests: {{ toYaml .resources.requests | nindent 14 }}
            limits: {{ toYaml .resources.limits | nindent 14 }}
              {{- if .gpu }}
              {{ .root.Values.gpu.resource }}: 1
              {{- end }}
{{- end -}}

{{- define "ctclip.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "ctclip.name" .root }}-{{ .name }}
  labels: {{ include "ctclip.labels" .root | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{ include "ctclip.selector" . | nindent 6 }}
{{- end -}}

{{- define "ctclip.peer" }}
- ports: [{protocol: TCP, port: {{ .port }}}]
  {{- with .to }}
  to: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- define "ctclip.names" }}
- ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
  to: [{namespaceSelector: {}}]
{{- end }}
{{/* The way to the collector of traces, where one is set: the port is that of its address. */}}
{{- define "ctclip.traces" }}
{{- with index (merge (dict) (.settings | default dict) .root.Values.settings) "CTCLIP_TRACES_ENDPOINT" }}
{{- $address := urlParse . }}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $address.host) | default (ternary "443" "80" (eq $address.scheme "https")) }}
{{- include "ctclip.peer" (dict "port" $port "to" $.root.Values.networkPolicies.traces.to) }}
{{- end }}
{{- end }}
{{- define "ctclip.outward" }}
{{- if .ports }}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  to:
    - ipBlock: {cidr: 0.0.0.0/0, except: {{ toJson .except }}}
{{- end }}
{{- end }}
