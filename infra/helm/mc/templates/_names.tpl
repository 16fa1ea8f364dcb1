{{- /* Image references, and what the pods of both components have in common. */ -}}

{{- define "mc.image" -}}
{{- $image := .image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .version }}
{{- end -}}
{{- end -}}

{{- /* Labels of the objects that this chart makes. They stay out of pod templates: there they would start an upgrade. */ -}}
{{- define "mc.labels" -}}
app.kubernetes.io/name: mc
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Values.version | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "mc.podMetadata" -}}
labels:
  app.kubernetes.io/name: mc
  app.kubernetes.io/component: {{ .component }}
annotations:
  prometheus.io/scrape: "true"
  prometheus.io/port: "8080"
  prometheus.io/path: /metrics
  {{- with .settings.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "mc.podPlacement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "mc.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "mc.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "mc.databaseVariable" -}}
{{- $logins := .Values.database.logins -}}
{{- if $logins.enabled }}
{{- range $colour := list "blue" "green" }}
- name: DATABASE_URL_{{ upper $colour }}
  valueFrom: {secretKeyRef: {name: {{ $.Values.database.existingSecret }}, key: {{ (index $logins $colour).key }}}}
{{- end }}
{{- else }}
- name: DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.database.existingSecret }}, key: {{ .Values.database.key }}}}
{{- end }}
- name: MC_COLOUR
  valueFrom: {fieldRef: {fieldPath: "metadata.labels['maestro-conductor.io/colour']"}}
{{- end -}}
