{{- /* Reference of one image: [registry/]repository, then @digest or :tag. Called with (list $ "trainer"). */ -}}
{{- define "msm.image" -}}
{{- $root := index . 0 -}}
{{- $image := index $root.Values.images (index . 1) -}}
{{- $registry := $image.registry | default $root.Values.images.registry -}}
{{- $name := ternary $image.repository (printf "%s/%s" $registry $image.repository) (empty $registry) -}}
{{- if $image.digest -}}
{{ $name }}@{{ $image.digest }}
{{- else -}}
{{ $name }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "msm.selector" -}}
app.kubernetes.io/name: msm-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "msm.labels" -}}
{{ include "msm.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: msm
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* What Pod Security restricted asks of a pod. */ -}}
{{- define "msm.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "msm.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* What every pod of this chart has: how it is pulled, where it may run. */ -}}
{{- define "msm.placement" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.operator.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.operator.tolerations }}
tolerations: {{ toYaml . | nindent 0 }}
{{- end }}
{{- end -}}

{{- define "msm.pull" -}}
{{- with .Values.images.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end -}}

{{- /* How a pod of this chart reaches the store: addresses, and the credential by reference. Called with (list $ <optional>): the preflight
starts without a Secret, so that it can say which one is missing. */ -}}
{{- define "msm.storeEnv" -}}
{{- $root := index . 0 -}}
{{- $optional := index . 1 -}}
{{- $store := $root.Values.store -}}
{{- if $store.uri }}
- {name: MSM_STORE_URI, value: {{ $store.uri | quote }}}
{{- with $store.endpoint }}
- {name: MSM_STORE_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- with $store.region }}
- {name: MSM_STORE_REGION, value: {{ . | quote }}}
{{- end }}
{{- if $store.caConfigMap }}
- {name: MSM_STORE_CA_FILE, value: /etc/msm/ca/ca.crt}
{{- end }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef: {name: {{ $store.secretName }}, key: {{ . }}{{ if $optional }}, optional: true{{ end }}}
{{- end }}
- name: AWS_SESSION_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ $store.secretName }}, key: AWS_SESSION_TOKEN, optional: true}
{{- end }}
{{- end -}}

{{- /* The MLflow server, and the credential by reference. Its keys are optional: a token, or a name and a password. */ -}}
{{- define "msm.trackingEnv" -}}
{{- with .Values.tracking.uri }}
- {name: MSM_TRACKING_URI, value: {{ . | quote }}}
{{- end }}
{{- if .Values.tracking.secretName }}
{{- range list "MLFLOW_TRACKING_USERNAME" "MLFLOW_TRACKING_PASSWORD" "MLFLOW_TRACKING_TOKEN" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef: {name: {{ $.Values.tracking.secretName }}, key: {{ . }}, optional: true}
{{- end }}
{{- end }}
{{- end -}}

{{- define "msm.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.store.caConfigMap }}
- {name: ca, mountPath: /etc/msm/ca, readOnly: true}
{{- end }}
{{- end -}}

{{- /* Called with (list $ <optional>), as msm.storeEnv. */ -}}
{{- define "msm.volumes" -}}
- {name: tmp, emptyDir: {}}
{{- with (index . 0).Values.store.caConfigMap }}
- name: ca
  configMap: {name: {{ . }}{{ if index $ 1 }}, optional: true{{ end }}}
{{- end }}
{{- end -}}

{{- define "msm.environment" -}}
{{- range $name, $value := .Values.operator.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- define "msm.hasKServe" -}}
{{- if .Capabilities.APIVersions.Has "serving.kserve.io/v1alpha1" }}yes{{ end -}}
{{- end -}}

{{- /* Where the run of `helm test` is. */ -}}
{{- define "msm.testNamespace" -}}
{{ .Values.test.namespace | default (first .Values.watchNamespaces) | default .Release.Namespace }}
{{- end -}}
