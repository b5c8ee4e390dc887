//! The real API server.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{Request, Status};
use kube::{Api, Client, Resource};
use serde_json::Value;

use super::{ApiError, Kind, Ref, Server};
use crate::lead::Lead;
use crate::metrics::Metrics;
use crate::naming::MANAGER;

/// Pages of lists: bounds what is in memory at once.
const PAGE: u32 = 200;

/// A request that takes longer has got no answer; it may have been done.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client that asks nothing in writing unless this process leads.
#[derive(Clone)]
pub struct KubeServer {
    client: Client,
    lead: Option<Arc<Lead>>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for KubeServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeServer").field("lead", &self.lead).finish_non_exhaustive()
    }
}

/// The dynamic type of a kind.
#[must_use]
pub fn resource(kind: Kind) -> ApiResource {
    let (group, version, name, plural) = kind.names();
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: kind.api_version(),
        kind: name.to_owned(),
        plural: plural.to_owned(),
    }
}

impl KubeServer {
    /// Writes only while `lead` holds; `None`: always (the lease itself, reviews).
    #[must_use]
    pub fn new(client: Client, lead: Option<Arc<Lead>>, metrics: Arc<Metrics>) -> KubeServer {
        KubeServer { client, lead, metrics }
    }

    /// Objects of a kind in a namespace; empty: in all, or of no namespace.
    #[must_use]
    pub fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        let resource = resource(kind);
        if namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        }
    }

    fn may_write(&self) -> Result<(), ApiError> {
        let leads = self.lead.as_ref().is_none_or(|lead| lead.holds());
        if leads { Ok(()) } else { Err(ApiError::NotLeading) }
    }

    fn count(&self, verb: &'static str, kind: Kind) {
        self.metrics.request(verb, kind.names().3);
    }
}

#[tonic::async_trait]
impl Server for KubeServer {
    async fn get(&self, object: &Ref) -> Result<Value, ApiError> {
        self.count("get", object.kind);
        answer(self.api(object.kind, &object.namespace).get(&object.name)).await.map(plain)
    }

    async fn list(&self, kind: Kind, namespace: &str, labels: &str) -> Result<Vec<Value>, ApiError> {
        let api = self.api(kind, namespace);
        let mut params = ListParams::default().limit(PAGE);
        if !labels.is_empty() {
            params = params.labels(labels);
        }
        let mut all = Vec::new();
        loop {
            self.count("list", kind);
            let page = answer(api.list(&params)).await?;
            let more = page.metadata.continue_.clone().filter(|token| !token.is_empty());
            all.extend(page.items.into_iter().map(plain));
            match more {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(all),
            }
        }
    }

    async fn events(&self, namespace: &str, name: &str) -> Result<Vec<Value>, ApiError> {
        self.count("list", Kind::Event);
        let of_it = ListParams::default().fields(&format!("involvedObject.name={name}")).limit(PAGE);
        let found = self.api(Kind::Event, namespace).list(&of_it).await.map_err(|error| read(&error))?;
        Ok(found.items.into_iter().map(plain).collect())
    }

    async fn create(&self, kind: Kind, namespace: &str, object: &Value) -> Result<Value, ApiError> {
        self.may_write()?;
        self.count("create", kind);
        let object: DynamicObject =
            serde_json::from_value(object.clone()).map_err(|error| ApiError::Invalid(error.to_string()))?;
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        answer(self.api(kind, namespace).create(&params, &object)).await.map(plain)
    }

    async fn apply(&self, object: &Ref, status: bool, value: &Value) -> Result<Value, ApiError> {
        self.may_write()?;
        self.count("apply", object.kind);
        let request = applying(object, status, value).map_err(|error| ApiError::Invalid(plan::in_full(&*error)))?;
        answer(self.client.request::<DynamicObject>(request)).await.map(plain)
    }

    async fn replace_status(&self, object: &Ref, version: &str, status: &Value) -> Result<Value, ApiError> {
        self.may_write()?;
        self.count("patch", object.kind);
        let request = replacing(object, version, status).map_err(|error| ApiError::Invalid(plan::in_full(&*error)))?;
        answer(self.client.request::<DynamicObject>(request)).await.map(plain)
    }

    async fn delete(&self, object: &Ref, uid: Option<&str>) -> Result<(), ApiError> {
        self.may_write()?;
        self.count("delete", object.kind);
        let preconditions = uid.map(|uid| Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::background() };
        answer(self.api(object.kind, &object.namespace).delete(&object.name, &params)).await.map(drop)
    }

    async fn delete_all(&self, kind: Kind, namespace: &str, labels: &str) -> Result<(), ApiError> {
        // One by one: the verb deletecollection would be one more right to ask for.
        for object in self.list(kind, namespace, labels).await? {
            let Some(name) = crate::view::text(&object, "/metadata/name") else { continue };
            match self.delete(&Ref::new(kind, namespace, name), crate::view::text(&object, "/metadata/uid")).await {
                Ok(()) | Err(ApiError::NotFound(_) | ApiError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn published_keys(&self) -> Result<Value, ApiError> {
        let request = axum::http::Request::get("/openid/v1/jwks").body(Vec::new());
        let request = request.map_err(|error| ApiError::Invalid(error.to_string()))?;
        answer(self.client.request(request)).await
    }

    async fn access(&self, token: &str, resource_attributes: &Value) -> Result<Value, ApiError> {
        ask_as(token, resource_attributes).await
    }
}

/// The request of a server-side apply.
fn applying(
    object: &Ref,
    status: bool,
    value: &Value,
) -> Result<axum::http::Request<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
    let namespace = Some(object.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    let requests = Request::new(DynamicObject::url_path(&resource(object.kind), namespace));
    let (params, patch) = (PatchParams::apply(MANAGER).force(), Patch::Apply(value));
    let request = if status {
        requests.patch_subresource("status", &object.name, &params, &patch)
    } else {
        requests.patch(&object.name, &params, &patch)
    };
    let (parts, body) = request?.into_parts();
    Ok(axum::http::Request::from_parts(parts, readable_as_yaml(String::from_utf8(body)?).into_bytes()))
}

/// The request of a JSON patch (RFC 6902), which asks for no more rights than an apply does, and may be refused as one may.
fn replacing(
    object: &Ref,
    version: &str,
    status: &Value,
) -> Result<axum::http::Request<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
    let operations = serde_json::json!([
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        {"op": "add", "path": "/status", "value": status},
    ]);
    let requests = Request::new(DynamicObject::url_path(&resource(object.kind), Some(&object.namespace)));
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    // The client's own kind of JSON patch wants a library for what stands here.
    let mut request = requests.patch_subresource("status", &object.name, &params, &Patch::Merge(operations))?;
    let kind = axum::http::HeaderValue::from_static("application/json-patch+json");
    request.headers_mut().insert(axum::http::header::CONTENT_TYPE, kind);
    Ok(request)
}

/// JSON that means the same to a reader of YAML, which the API server uses for what is applied: it refuses some characters where
/// they stand as they are, and takes others for ends of lines. Rows and messages of users' functions may have any of them.
fn readable_as_yaml(json: String) -> String {
    let is_special =
        |letter: char| matches!(letter, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    if !json.contains(is_special) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 64);
    for letter in json.chars() {
        if is_special(letter) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            escaped.push(letter);
        }
    }
    escaped
}

/// Posts a review with the bearer's own token.
async fn ask_as(token: &str, resource_attributes: &Value) -> Result<Value, ApiError> {
    let unavailable = |error: &dyn std::error::Error| ApiError::Unavailable(plan::in_full(error));
    let mut config = kube::Config::infer().await.map_err(|error| unavailable(&error))?;
    config.auth_info =
        kube::config::AuthInfo { token: Some(token.trim().to_owned().into()), ..kube::config::AuthInfo::default() };
    let client = Client::try_from(config).map_err(|error| unavailable(&error))?;
    let kind = Kind::SelfSubjectAccessReview;
    let review = serde_json::json!({
        "apiVersion": kind.api_version(), "kind": kind.names().2, "metadata": {},
        "spec": {"resourceAttributes": resource_attributes},
    });
    let review: DynamicObject = serde_json::from_value(review).map_err(|error| ApiError::Invalid(error.to_string()))?;
    let api: Api<DynamicObject> = Api::all_with(client, &resource(kind));
    answer(api.create(&PostParams::default(), &review)).await.map(plain)
}

/// The answer to a request; a connection that has died without a word must not hold up what asked.
async fn answer<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(answer) => answer.map_err(|error| read(&error)),
        Err(_) => Err(ApiError::Unavailable(format!("the API server did not answer within {} s", PATIENCE.as_secs()))),
    }
}

fn plain(object: DynamicObject) -> Value {
    serde_json::to_value(object).expect("an object from JSON is JSON")
}

/// What an error means for us.
#[must_use]
pub fn read(error: &kube::Error) -> ApiError {
    match error {
        kube::Error::Api(status) => refused(status),
        other => ApiError::Unavailable(plan::in_full(other)),
    }
}

fn refused(status: &Status) -> ApiError {
    let message = status.message.clone();
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    match (status.code, status.reason.as_str()) {
        (404, _) => ApiError::NotFound(message),
        (409, "AlreadyExists") => ApiError::AlreadyExists(message),
        (409, _) => ApiError::Conflict(message),
        (403, _)
            if causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
                || message.contains("because it is being terminated") =>
        {
            ApiError::Terminating(message)
        }
        (403, _) if message.contains("exceeded quota") => ApiError::Quota(message),
        (403, _) => ApiError::Forbidden(message),
        (400 | 405 | 413 | 415 | 422, _) => ApiError::Invalid(message),
        _ => ApiError::Unavailable(format!("{} {}: {message}", status.code, status.reason)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_reader_of_yaml_would_not_take_is_escaped_and_means_the_same() {
        let odd: String =
            ('\u{7f}'..='\u{a0}').chain("\u{2028}\u{2029}\u{feff}\u{fffd}\u{fffe}\u{ffff}é\u{1f600}\u{1}\"\\".chars()).collect();
        let value = json!({"status": {"message": odd}});
        let request = applying(&Ref::new(Kind::GleamFlow, "n", "a"), true, &value).unwrap();
        assert_eq!(request.uri().path(), "/apis/gleamflow.io/v1alpha1/namespaces/n/gleamflows/a/status");
        let body = std::str::from_utf8(request.body()).unwrap();
        assert!(!body.contains(['\u{7f}', '\u{85}', '\u{9f}', '\u{2028}', '\u{feff}', '\u{fffe}', '\u{ffff}']), "{body}");
        assert!(body.contains("é\u{1f600}"), "{body}");
        assert_eq!(serde_json::from_str::<Value>(body).unwrap(), value);
    }

    #[test]
    fn a_status_is_replaced_by_a_patch_that_needs_the_newest_version() {
        let request = replacing(&Ref::new(Kind::GleamFlow, "n", "a"), "7", &json!({"phase": "Running"})).unwrap();
        assert_eq!(
            (request.method().as_str(), request.uri().to_string().as_str(), request.headers()["content-type"].to_str().unwrap()),
            (
                "PATCH",
                "/apis/gleamflow.io/v1alpha1/namespaces/n/gleamflows/a/status?&fieldManager=gleamflow",
                "application/json-patch+json"
            )
        );
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body[0]["value"], "7");
        assert_eq!((&body[1]["path"], &body[1]["value"]["phase"]), (&json!("/status"), &json!("Running")));
    }

    #[test]
    fn plain_text_is_sent_as_it_is() {
        let value = json!({"a": "b"});
        let request = applying(&Ref::new(Kind::Lease, "n", "a"), false, &value).unwrap();
        assert_eq!(request.uri().path(), "/apis/coordination.k8s.io/v1/namespaces/n/leases/a");
        assert_eq!(request.body(), br#"{"a":"b"}"#);
    }
}
