//! Opens a store: takes a URL apart, and hands the settings to the provider's client.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::error::{Advice, StoreError};
use super::unfinished::Unfinished;

/// A bucket, opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    /// `None` over http.
    pub(super) multipart: Option<Multipart>,
    /// Lists uploads that were not ended, where the store has a way to.
    pub(super) unfinished: Option<Unfinished>,
    /// The URL without the key: `s3://bucket`.
    pub(super) root: String,
    pub(super) advice: Advice,
}

/// The store's multipart uploads.
pub(super) struct Multipart(pub(super) Arc<dyn MultipartStore>);

impl std::fmt::Debug for Multipart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Multipart")
    }
}

/// A URL, taken apart.
#[derive(Debug)]
pub(super) struct Address {
    scheme: Scheme,
    bucket: String,
    /// One store per root.
    pub(super) root: String,
    pub(super) path: Path,
}

/// Kinds of stores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scheme {
    S3,
    Google,
    Azure,
    Http,
}

impl Scheme {
    /// The kind that a URL is of.
    pub(super) fn of(url: &str) -> Option<Scheme> {
        match url.split_once("://")?.0 {
            "s3" => Some(Scheme::S3),
            "gs" => Some(Scheme::Google),
            "az" => Some(Scheme::Azure),
            "http" | "https" => Some(Scheme::Http),
            _ => None,
        }
    }
}

/// Takes a URL apart. Keys of buckets are taken as written; only http URLs are percent-decoded.
pub(super) fn parse(url: &str) -> Result<Address, StoreError> {
    let scheme = Scheme::of(url).ok_or_else(|| StoreError::UnknownScheme { url: url.to_owned() })?;
    if scheme == Scheme::Http {
        return parse_http(url);
    }
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(StoreError::NoBucketNamed { url: url.to_owned() });
    }
    let root = url[..url.len() - rest.len() + bucket.len()].to_owned();
    Ok(Address { scheme, bucket: bucket.to_owned(), root, path: parse_key(url, key)? })
}

pub(super) fn parse_key(url: &str, key: &str) -> Result<Path, StoreError> {
    Path::parse(key).map_err(|source| StoreError::InvalidUrl { url: url.to_owned(), source: source.into() })
}

/// The whole URL is the root and the path is empty: a query or an unusual escape then goes to the server as it was written.
/// URLs whose path is plain share one client per server.
fn parse_http(url: &str) -> Result<Address, StoreError> {
    let parsed = url::Url::parse(url).map_err(|source| StoreError::InvalidUrl { url: url.to_owned(), source: source.into() })?;
    let origin = parsed.origin().ascii_serialization();
    let plain = format!("{origin}{}", parsed.path()) == url && !parsed.path().contains(['%', '~', '\'']);
    let path = plain.then(|| Path::parse(parsed.path()).ok()).flatten().filter(|path| url.ends_with(path.as_ref()));
    Ok(match path {
        Some(path) => Address { scheme: Scheme::Http, bucket: String::new(), root: origin, path },
        None => Address { scheme: Scheme::Http, bucket: String::new(), root: url.to_owned(), path: Path::default() },
    })
}

pub(super) fn open(address: &Address, url: &str, settings: &[(String, String)]) -> Result<Opened, StoreError> {
    let advice = advice(address.scheme, settings);
    let opened = match address.scheme {
        Scheme::S3 => open_s3(&address.bucket, settings),
        Scheme::Google => open_google(&address.bucket, settings).map(both),
        Scheme::Azure => open_azure(&address.bucket, settings).map(both),
        Scheme::Http => open_http(&address.root).map(|store| (store, None, None)),
    };
    let (store, multipart, unfinished) = opened.map_err(|source| StoreError::Settings {
        url: url.to_owned(),
        advice: advice.credentials,
        source: source.into(),
    })?;
    Ok(Opened { store, multipart: multipart.map(Multipart), unfinished, root: address.root.clone(), advice })
}

type Clients = (Arc<dyn ObjectStore>, Option<Arc<dyn MultipartStore>>, Option<Unfinished>);

/// Google's unfinished uploads go by the bucket's own rules, Azure's by themselves after a week.
fn both<S: ObjectStore + MultipartStore>(store: S) -> Clients {
    let store = Arc::new(store);
    (Arc::clone(&store) as Arc<dyn ObjectStore>, Some(store), None)
}

fn open_s3(bucket: &str, settings: &[(String, String)]) -> object_store::Result<Clients> {
    let builder = AmazonS3Builder::new().with_client_options(client_options()).with_retry(retries());
    let builder = keys::<AmazonS3ConfigKey>(settings, "AWS_")
        .fold(builder, |builder, (key, value)| builder.with_config(key, value))
        .with_bucket_name(bucket);
    // An endpoint written as http:// was meant as such; the providers' tools ask for no second switch either.
    let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let plain = endpoint.iter().any(|key| builder.get_config_value(key).is_some_and(|url| url.starts_with("http://")));
    let builder = if plain { builder.with_allow_http(true) } else { builder };
    let store = builder.clone().build()?;
    let unfinished = Unfinished::new(&builder, &store, bucket, client_options())?;
    let (store, multipart, _) = both(store);
    Ok((store, multipart, Some(unfinished)))
}

fn open_google(bucket: &str, settings: &[(String, String)]) -> object_store::Result<object_store::gcp::GoogleCloudStorage> {
    let builder = GoogleCloudStorageBuilder::new().with_client_options(client_options()).with_retry(retries());
    keys::<GoogleConfigKey>(settings, "GOOGLE_")
        .fold(builder, |builder, (key, value)| builder.with_config(key, value))
        .with_bucket_name(bucket)
        .build()
}

fn open_azure(container: &str, settings: &[(String, String)]) -> object_store::Result<object_store::azure::MicrosoftAzure> {
    let builder = MicrosoftAzureBuilder::new().with_client_options(client_options()).with_retry(retries());
    let builder = keys::<AzureConfigKey>(settings, "AZURE_")
        .fold(builder, |builder, (key, value)| builder.with_config(key, value))
        .with_container_name(container);
    let plain = builder.get_config_value(&AzureConfigKey::Endpoint).is_some_and(|url| url.starts_with("http://"));
    if plain { builder.with_allow_http(true).build() } else { builder.build() }
}

fn open_http(root: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
    let builder = HttpBuilder::new().with_url(root).with_client_options(client_options().with_allow_http(true));
    Ok(Arc::new(builder.with_retry(retries()).build()?))
}

/// The provider's own settings among the variables; other variables with its prefix belong to its other tools.
fn keys<K: FromStr>(settings: &[(String, String)], prefix: &'static str) -> impl Iterator<Item = (K, String)> {
    let own = settings.iter().filter(move |(name, _)| name.starts_with(prefix));
    own.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value.clone())))
}

/// Whether a variable is one of the store's settings.
pub(super) fn knows(scheme: Scheme, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    match scheme {
        Scheme::S3 => AmazonS3ConfigKey::from_str(&name).is_ok(),
        Scheme::Google => GoogleConfigKey::from_str(&name).is_ok(),
        Scheme::Azure => AzureConfigKey::from_str(&name).is_ok(),
        Scheme::Http => false,
    }
}

pub(super) fn client_options() -> ClientOptions {
    // No limit on a whole transfer, which may be large: only on silence.
    let silence = Duration::from_secs(20);
    ClientOptions::new()
        .with_timeout_disabled()
        .with_config(object_store::ClientConfigKey::ReadTimeout, format!("{}s", silence.as_secs()))
        .with_connect_timeout(Duration::from_secs(5))
}

/// A store that is down is told after some seconds, not minutes.
fn retries() -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: 5, retry_timeout: Duration::from_secs(20) }
}

/// What to tell users about a store's credentials.
pub(super) fn advice(scheme: Scheme, settings: &[(String, String)]) -> Advice {
    let any = |names: &[&str]| settings.iter().any(|(name, value)| names.contains(&name.as_str()) && !value.is_empty());
    match scheme {
        Scheme::S3 => Advice {
            credentials: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_REGION or AWS_ENDPOINT_URL), \
                          or AWS_SKIP_SIGNATURE=true for a public bucket",
            given: any(&["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE"]),
        },
        Scheme::Google => Advice {
            credentials: "set GOOGLE_APPLICATION_CREDENTIALS to the path of a key file, \
                          or GOOGLE_SKIP_SIGNATURE=true for a public bucket",
            given: any(&["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SKIP_SIGNATURE"]),
        },
        Scheme::Azure => Advice {
            credentials: "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, \
                          or AZURE_SKIP_SIGNATURE=true for a public container",
            given: any(&["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_CLIENT_SECRET", "AZURE_SKIP_SIGNATURE"]),
        },
        Scheme::Http => Advice { credentials: "the server wants credentials that a flow cannot give it", given: true },
    }
}
