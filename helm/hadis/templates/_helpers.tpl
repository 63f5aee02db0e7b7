{{- define "hadis.name" -}}
{{- if contains "hadis" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-hadis" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "hadis.labels" -}}
app.kubernetes.io/name: hadis-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "hadis.selector" -}}
app.kubernetes.io/name: hadis-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* An image: (list context repository) */ -}}
{{- define "hadis.image" -}}
{{- $root := index . 0 }}{{ with $root.Values.image.registry }}{{ . | trimSuffix "/" }}/{{ end }}{{ index . 1 }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end }}

{{- define "hadis.rules" -}}
# What users write, and the status that we write.
- apiGroups: [hadis.dev]
  resources: [diffusionservices, cascadeprofiles, gpupools]
  verbs: [get, list, watch]
- apiGroups: [hadis.dev]
  resources: [diffusionservices/status, cascadeprofiles/status, gpupools/status]
  verbs: [get, patch]
# The children of a service: applied (patch creates too), watched so that edits by hand are put right, deleted when
# they are needed no more.
- apiGroups: [""]
  resources: [services, configmaps, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch, delete]
# Owner references that block the owner's deletion ask for this right.
- apiGroups: [hadis.dev]
  resources: [diffusionservices/finalizers]
  verbs: [update]
# The Secret by which the parts of a service know each other: made once. Of users' Secrets those are read that a
# service's metrics.prometheus names; kubelet mounts the others.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create]
# Pods are counted; their deletion cost is written, so that idle ones go first.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
# The router's Role grants this, and nobody may grant what they do not have.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
# Changes of plan and new troubles are told as events.
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{- /* The annotation that leads to an alert's section in these documents: (list context alert) */ -}}
{{- define "hadis.runbook" -}}
{{- with (index . 0).Values.prometheus.runbooks }}{{ printf "\n        runbook_url: %s/alerts/#%s" (trimSuffix "/" .) (lower (index $ 1)) }}{{ end }}
{{- end }}
