//! Who a bearer token of Kubernetes belongs to, and what its bearer may do: asked of the API server, believed from nobody else.

mod token;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::naming;
use crate::server::{ApiError, Kind, Ref, Server};
use crate::view::{list, text};

/// What a token must have been made for.
const AUDIENCE: &str = "gleamflow";
/// Where newer API servers say which node a token's pod is on.
const NODE: &str = "authentication.kubernetes.io/node-name";
const POD: &str = "authentication.kubernetes.io/pod-name";

/// Asks.
#[derive(Clone, Debug)]
pub struct Reviewer {
    server: Arc<dyn Server>,
    namespace: String,
}

/// Why somebody is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("the token is not valid: {0}")]
    Unknown(String),
    #[error("{who} may not {what}")]
    Forbidden { who: String, what: String },
    #[error("the API server could not be asked: {0}")]
    Unavailable(String),
    /// Rights are of namespaces alone, and reviews are of none.
    #[error("the operator may not ask for reviews of tokens")]
    NotOurs,
}

/// Somebody the API server knows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    user: Value,
}

impl Reviewer {
    /// `namespace`: the operator's own, where agents are.
    #[must_use]
    pub fn new(server: Arc<dyn Server>, namespace: String) -> Reviewer {
        Reviewer { server, namespace }
    }

    /// The node of the agent that holds this projected token.
    ///
    /// # Errors
    /// [`Denied`], unless it is an agent's: its service account, made for us, bound to a pod that is there.
    pub async fn agent(&self, token: &str) -> Result<String, Denied> {
        let known = match self.known(token, Some(AUDIENCE)).await {
            Err(Denied::NotOurs) => return self.published(token).await,
            known => known?,
        };
        self.is_agent(text(&known.user, "/username").unwrap_or_default())?;
        if let Some(node) = extra(&known.user, NODE) {
            return Ok(node.to_owned());
        }
        let pod = extra(&known.user, POD).ok_or_else(|| Denied::Unknown("it is bound to no pod".to_owned()))?;
        let pod = self.server.get(&Ref::new(Kind::Pod, &self.namespace, pod)).await.map_err(denied)?;
        let node = text(&pod, "/spec/nodeName").map(str::to_owned);
        node.ok_or_else(|| Denied::Unknown("its pod is on no node".to_owned()))
    }

    fn is_agent(&self, who: &str) -> Result<(), Denied> {
        if who == format!("system:serviceaccount:{}:{}", self.namespace, naming::AGENT) {
            return Ok(());
        }
        Err(Denied::Forbidden { who: who.to_owned(), what: "be an agent".to_owned() })
    }

    /// As [`Reviewer::agent`], by the keys that the cluster publishes. A review would know that the pod is gone; here it is asked for.
    async fn published(&self, token: &str) -> Result<String, Denied> {
        let keys = self.server.published_keys().await.map_err(denied)?;
        let now = jiff::Timestamp::now().as_second();
        let bearer = token::verify(token, &keys, AUDIENCE, now).map_err(Denied::Unknown)?;
        self.is_agent(&bearer.subject)?;
        let pod = self.server.get(&Ref::new(Kind::Pod, &self.namespace, &bearer.pod)).await.map_err(denied)?;
        if text(&pod, "/metadata/uid") != Some(bearer.pod_uid.as_str()) {
            return Err(Denied::Unknown("its pod is gone".to_owned()));
        }
        let node = text(&pod, "/spec/nodeName").map(str::to_owned);
        node.ok_or_else(|| Denied::Unknown("its pod is on no node".to_owned()))
    }

    /// Whether the bearer may read the output of a flow.
    ///
    /// # Errors
    /// [`Denied`], unless so.
    pub async fn output(&self, token: &str, namespace: &str, flow: &str) -> Result<(), Denied> {
        let what = json!({
            "group": "gleamflow.io", "resource": "gleamflows", "subresource": "output", "verb": "get",
            "namespace": namespace, "name": flow,
        });
        let known = match self.known(token, None).await {
            // The bearer asks for itself: that needs no right of ours.
            Err(Denied::NotOurs) => return judged(&self.server.access(token, &what).await.map_err(denied)?, "the bearer", &what),
            known => known?,
        };
        let user = &known.user;
        let review = json!({
            "apiVersion": Kind::SubjectAccessReview.api_version(), "kind": "SubjectAccessReview", "metadata": {},
            "spec": {
                "user": user.get("username"), "groups": user.get("groups"), "uid": user.get("uid"), "extra": user.get("extra"),
                "resourceAttributes": what,
            },
        });
        let answer = self.server.create(Kind::SubjectAccessReview, "", &review).await.map_err(denied)?;
        judged(&answer, text(user, "/username").unwrap_or_default(), &what)
    }

    async fn known(&self, token: &str, audience: Option<&str>) -> Result<Known, Denied> {
        let audiences: Vec<&str> = audience.into_iter().collect();
        let review = json!({
            "apiVersion": Kind::TokenReview.api_version(), "kind": "TokenReview", "metadata": {},
            "spec": {"token": token, "audiences": audiences},
        });
        let answer = match self.server.create(Kind::TokenReview, "", &review).await {
            Err(ApiError::Forbidden(_)) => return Err(Denied::NotOurs),
            answer => answer.map_err(denied)?,
        };
        let meant = audience.is_none_or(|audience| list(&answer, "/status/audiences").iter().any(|it| it == audience));
        if answer.pointer("/status/authenticated").and_then(Value::as_bool) != Some(true) || !meant {
            let why = text(&answer, "/status/error").unwrap_or("the API server does not know it");
            return Err(Denied::Unknown(why.to_owned()));
        }
        Ok(Known { user: answer.pointer("/status/user").cloned().unwrap_or_default() })
    }
}

fn judged(answer: &Value, who: &str, what: &Value) -> Result<(), Denied> {
    if answer.pointer("/status/allowed").and_then(Value::as_bool) == Some(true) {
        return Ok(());
    }
    let part = |name: &str| what.get(name).and_then(Value::as_str).unwrap_or_default();
    let what = format!("get gleamflows/output of {:?} in namespace {:?}", part("name"), part("namespace"));
    Err(Denied::Forbidden { who: who.to_owned(), what })
}

fn extra<'a>(user: &'a Value, key: &str) -> Option<&'a str> {
    user.get("extra")?.get(key)?.get(0)?.as_str()
}

fn denied(error: ApiError) -> Denied {
    Denied::Unavailable(error.to_string())
}
