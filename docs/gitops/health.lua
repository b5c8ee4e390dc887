-- Argo CD's view of a GleamFlow: `resource.customizations.health.gleamflow.io_GleamFlow` in the ConfigMap argocd-cm.
local health = {status = "Progressing", message = "waiting for the operator"}
local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end
local is = {}
for _, condition in ipairs(status.conditions) do
  if condition.status == "True" then
    is[condition.type] = condition
  end
end
for _, known in ipairs({{"Stalled", "Degraded"}, {"Suspended", "Suspended"}, {"Reconciling", "Progressing"}, {"Ready", "Healthy"}}) do
  local condition = is[known[1]]
  if condition ~= nil then
    return {status = known[2], message = condition.reason .. ": " .. condition.message}
  end
end
return health
