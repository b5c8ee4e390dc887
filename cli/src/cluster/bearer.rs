//! The word by which a kubeconfig proves who its user is: the operator has the API server look at it.

use http::header::AUTHORIZATION;
use http::{Request, Response};
use kube::Config;
use kube::client::{Body, ConfigExt};
use tonic::metadata::{Ascii, MetadataValue};
use tower::{BoxError, Layer, ServiceExt};

/// The header with the user's token, as requests to the API server carry it: from the kubeconfig, from a file that it names, or from the
/// program that it names (as the clouds' kubeconfigs do). `None`: the user is known by something else, such as a client certificate.
///
/// # Errors
/// If there should be a token, and none can be had.
pub(crate) async fn authorization(config: &Config) -> anyhow::Result<Option<MetadataValue<Ascii>>> {
    let Some(layer) = config.auth_layer()? else { return Ok(None) };
    // What a request would carry is only known once one is made: this one goes nowhere, and comes back with its header.
    let echo = tower::service_fn(async |request: Request<Body>| {
        let mut answer = Response::new(());
        if let Some(header) = request.headers().get(AUTHORIZATION) {
            answer.headers_mut().insert(AUTHORIZATION, header.clone());
        }
        Ok::<_, BoxError>(answer)
    });
    let answer = layer.layer(echo).oneshot(Request::new(Body::empty())).await.map_err(anyhow::Error::from_boxed)?;
    let header = answer.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    let token = header.and_then(|header| header.strip_prefix("Bearer "));
    Ok(token.and_then(proto::token::authorization))
}

#[cfg(test)]
mod tests {
    use kube::config::{KubeConfigOptions, Kubeconfig};
    use serde_json::{Value, json};

    use super::*;

    async fn header(user: &Value) -> anyhow::Result<Option<String>> {
        let config: Kubeconfig = serde_json::from_value(json!({
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }))
        .unwrap();
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        let header = authorization(&config).await?;
        Ok(header.map(|header| header.to_str().unwrap().to_owned()))
    }

    #[tokio::test]
    async fn a_token_is_found_wherever_a_kubeconfig_may_have_it() {
        assert_eq!(header(&json!({"token": "abc"})).await.unwrap().as_deref(), Some("Bearer abc"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from-a-file").unwrap();
        let found = header(&json!({"tokenFile": file.path()})).await.unwrap();
        assert_eq!(found.as_deref(), Some("Bearer from-a-file"));
        let given =
            r#"echo '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "made"}}'"#;
        let program = |script: &str| {
            let version = "client.authentication.k8s.io/v1";
            json!({"exec": {"apiVersion": version, "command": "sh", "args": ["-c", script], "interactiveMode": "Never"}})
        };
        assert_eq!(header(&program(given)).await.unwrap().as_deref(), Some("Bearer made"));
        assert_eq!(header(&json!({"username": "a", "password": "b"})).await.unwrap(), None, "it is no token");
        assert_eq!(header(&json!({})).await.unwrap(), None);
        assert!(header(&program("exit 3")).await.is_err(), "a program that fails is no user without a token");
    }
}
