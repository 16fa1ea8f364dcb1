{{/* Names, labels and the permission rules that more than one template uses. */}}

{{- define "conductor.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "conductor.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "conductor.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Roles outside the release's namespace: two installations must not meet in one name. */}}
{{- define "conductor.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "conductor.fullname" .) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "conductor.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "conductor.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "conductor.selector" -}}
app.kubernetes.io/name: {{ include "conductor.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "conductor.labels" -}}
{{ include "conductor.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: maestro-conductor
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "conductor.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- define "conductor.subjects" -}}
- kind: ServiceAccount
  name: {{ include "conductor.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* Whether nodes are asked if they follow; that needs a right for the whole cluster. */}}
{{- define "conductor.nodeProof" -}}
{{- or (eq .Values.nodeProof "On") (and (eq .Values.nodeProof "Auto") (not .Values.namespaces)) }}
{{- end }}

{{- define "conductor.nodeService" -}}
{{- printf "%s-nodes" (include "conductor.fullname" . | trunc 57 | trimSuffix "-") }}
{{- end }}

{{/* What the operator does where releases are. `make test` holds this list against the API server's audit log. */}}
{{- define "conductor.rules" -}}
- apiGroups: [maestro-conductor.io]
  resources: [controlplanereleases]
  verbs: [get, list, watch, patch]
- apiGroups: [maestro-conductor.io]
  resources: [controlplanereleases/status]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [list, watch, create, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch, delete]
# What is left for a candidate. Without named namespaces the list of pods above shows what the nodes carry as well.
- apiGroups: [""]
  resources: [resourcequotas]
  verbs: [list]
# What stands beside each Deployment. Budgets of others are listed before an upgrade, and never written.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, create, patch, delete]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [list, create]
{{- if .Values.gatewayAPI.enabled }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, patch]
{{- end }}
{{- end }}
