{{/* Parts of the admission policies. CEL has no loop that ends early and no set: names are joined, split and counted. */}}

{{- define "conductor.admissionPolicies" -}}
{{- if and .Values.admissionPolicy.enabled (semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version) }}yes{{ end }}
{{- end }}

{{/* Which writes are looked at: commands are annotations and status is the operator's, only a new spec has an author. */}}
{{- define "conductor.admissionScope" -}}
failurePolicy: Fail
matchConstraints:
  matchPolicy: Equivalent
  resourceRules:
  - apiGroups: [maestro-conductor.io]
    apiVersions: ["*"]
    operations: [CREATE, UPDATE]
    resources: [controlplanereleases]
matchConditions:
- name: spec-is-new
  expression: request.operation == 'CREATE' || object.spec != oldObject.spec
{{- end }}

{{- define "conductor.admissionBinding" -}}
policyName: {{ .policy }}
validationActions: [Deny]
{{- with .root.Values.namespaces }}
matchResources:
  namespaceSelector:
    matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: In
      values: {{ toJson . }}
{{- end }}
{{- end }}

{{/* A list that may be absent or, as charts render it, null. */}}
{{- define "conductor.list" -}}
(has({{ . }}) && {{ . }} != null ? {{ . }} : [])
{{- end }}

{{/* Every place of a pod spec `p` that names a Secret, as one text of names with commas between. */}}
{{- define "conductor.secretsOfPod" -}}
({{ include "conductor.list" "p.initContainers" }} + {{ include "conductor.list" "p.containers" }}).map(c,
  {{ include "conductor.list" "c.env" }}.map(e, e.?valueFrom.?secretKeyRef.?name.orValue('')).join(',') + ','
  + {{ include "conductor.list" "c.envFrom" }}.map(e, e.?secretRef.?name.orValue('')).join(',')).join(',') + ','
+ {{ include "conductor.list" "p.imagePullSecrets" }}.map(s, s.?name.orValue('')).join(',') + ','
+ {{ include "conductor.list" "p.volumes" }}.map(v,
  v.?secret.?secretName.orValue('') + ','
  + v.?azureFile.?secretName.orValue('') + ','
  + v.?csi.?nodePublishSecretRef.?name.orValue('') + ','
  + v.?cephfs.?secretRef.?name.orValue('') + ','
  + v.?cinder.?secretRef.?name.orValue('') + ','
  + v.?flexVolume.?secretRef.?name.orValue('') + ','
  + v.?iscsi.?secretRef.?name.orValue('') + ','
  + v.?rbd.?secretRef.?name.orValue('') + ','
  + v.?scaleIO.?secretRef.?name.orValue('') + ','
  + v.?storageos.?secretRef.?name.orValue('') + ','
  + (has(v.projected) ? {{ include "conductor.list" "v.projected.sources" }} : []).map(s, s.?secret.?name.orValue('')).join(',')).join(',')
{{- end }}

{{/* The distinct ones of a list of at most 256 texts: those that stand where they are met first. */}}
{{- define "conductor.distinct" -}}
{{ toJson (until 256) }}.filter(i, i < {{ . }}.size() && {{ . }}.indexOf({{ . }}[i]) == i).map(i, {{ . }}[i])
{{- end }}

{{/* Patterns of URLs as one regular expression; the operator does the same (operator/conductor/api/urls.py). */}}
{{- define "conductor.allowedUrls" -}}
{{- $expressions := list }}
{{- range .Values.prometheus.allowedUrls }}
{{- $expressions = append $expressions (regexQuoteMeta . | replace ":\\*" "(:[0-9]{1,5})?" | replace "\\*" "[A-Za-z0-9-]*") }}
{{- end -}}
^({{ join "|" $expressions }})/?$
{{- end }}

{{/* Whatever is allowed: the same expression as FORBIDDEN in operator/conductor/api/urls.py. */}}
{{- define "conductor.forbiddenUrls" -}}
(?i)^https?://((.*\.)?localhost|127\.[0-9.]*|0[0-9a-fx.]*|169\.254\.[0-9.]*|[0-9]+|kubernetes(\.default(\.svc(\..*)?)?)?|metadata(\.google\.internal)?)\.?(:[0-9]*)?(/.*)?$
{{- end }}
