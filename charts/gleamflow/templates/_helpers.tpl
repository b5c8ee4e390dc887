{{/* The name of everything that the chart makes. Always the same: executors and agents look for it; a namespace has one operator. */}}
{{- define "gleamflow.name" -}}
gleamflow-operator
{{- end -}}

{{- define "gleamflow.selector" -}}
app.kubernetes.io/name: gleamflow
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "gleamflow.labels" -}}
{{ include "gleamflow.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "gleamflow.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "gleamflow.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "gleamflow.executorImage" -}}
{{- printf "%s:%s" .Values.executorImage.repository (.Values.executorImage.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{/* The namespaces that get a Role each: none where one role for the whole cluster is bound. The release's own may be among them. */}}
{{- define "gleamflow.servedNamespaces" -}}
{{- if .Values.namespaces -}}
{{- .Values.namespaces | uniq | toJson -}}
{{- else if .Values.rbac.clusterScoped -}}
[]
{{- else -}}
{{- list .Release.Namespace | toJson -}}
{{- end -}}
{{- end -}}

{{/* What the operator does in a namespace whose flows it runs. */}}
{{- define "gleamflow.flowRules" -}}
- apiGroups: [gleamflow.io]
  resources: [gleamflows]
  verbs: [get, list, watch]
- apiGroups: [gleamflow.io]
  resources: [gleamflows/status]
  verbs: [patch]
# Clusters that protect owners ask for this before an object may name a flow as its owner.
- apiGroups: [gleamflow.io]
  resources: [gleamflows/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
# What a run is and makes. `patch`: its executors' certificates are renewed. `list`: what a run left is found by its labels.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, delete]
# Whether a volume can be shared by nodes
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, create, delete]
# `list`: why a pod that has a node does not start is only in its events
- apiGroups: [events.k8s.io, ""]
  resources: [events]
  verbs: [list, create]
{{- end -}}

{{/* What the operator does in its own namespace: leadership, trust, agents. */}}
{{- define "gleamflow.homeRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [get, create, patch]
# `list`, and of events too: why no agent is there is said to flows that wait for one.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
# Its own address, for executors and agents
- apiGroups: [""]
  resources: [services]
  verbs: [get]
# Agents are owned by the operator's Deployment, so that they go with it.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get]
- apiGroups: [apps]
  resources: [deployments/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get]
- apiGroups: [apps]
  resources: [daemonsets]
  verbs: [get, create, patch]
{{- end -}}


{{/* What the operator reads at its start. */}}
{{- define "gleamflow.config" -}}
{{- $image := include "gleamflow.executorImage" . -}}
clusterScoped: {{ .Values.rbac.clusterScoped }}
namespaces: {{ .Values.namespaces | uniq | toJson }}
certificates: {{ .Values.certificates | toJson }}
executor:
  image: {{ $image | quote }}
  imagePullPolicy: {{ .Values.executorImage.pullPolicy }}
  imagePullSecrets: {{ .Values.imagePullSecrets | toJson }}
agent:
  image: {{ $image | quote }}
  memory: {{ .Values.agent.memory | quote }}
  disk: {{ .Values.agent.disk | quote }}
  resources: {{ .Values.agent.resources | toJson }}
  nodeSelector: {{ .Values.agent.nodeSelector | toJson }}
  tolerations: {{ .Values.agent.tolerations | toJson }}
{{- end -}}
