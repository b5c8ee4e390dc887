//! Why a store did not do what it was asked, in words that say what to do.

use std::fmt;

use thiserror::Error;

/// A failed attempt on an object store.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("{url:?} is not in a store that can be read or written here (known are s3://, gs://, az://, http:// and https://)")]
    UnknownScheme { url: String },
    #[error("{url:?} is not a file of this machine; write file:///path, or the path alone")]
    ElsewhereFile { url: String },
    #[error("{url:?} names no bucket")]
    NoBucketNamed { url: String },
    #[error("{url:?} is not a valid URL")]
    InvalidUrl {
        url: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("failed to set up the store of {url}; {advice}")]
    Settings {
        url: String,
        advice: &'static str,
        #[source]
        source: Cause,
    },
    #[error("failed to read the credentials for {prefix} in {path:?}")]
    Secret {
        prefix: String,
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the secret for {prefix} has none of the keys that this kind of store knows; {advice}")]
    EmptySecret { prefix: String, advice: &'static str },
    #[error("the store of {prefix} cannot be set up: {problem}")]
    Access { prefix: String, problem: &'static str },
    #[error("{url} does not exist")]
    NotFound {
        url: String,
        #[source]
        source: Cause,
    },
    #[error("failed to {attempt} {url}: its bucket does not exist; check the name, the region and the endpoint")]
    NoSuchBucket {
        attempt: &'static str,
        url: String,
        #[source]
        source: Cause,
    },
    #[error("failed to {attempt} {url}: access was refused; {advice}")]
    Refused {
        attempt: &'static str,
        url: String,
        advice: &'static str,
        #[source]
        source: Cause,
    },
    #[error("failed to {attempt} {url}: no credentials were found; {advice}")]
    NoCredentials {
        attempt: &'static str,
        url: String,
        advice: &'static str,
        #[source]
        source: Cause,
    },
    #[error("{url} was changed while it was read")]
    Changed {
        url: String,
        #[source]
        source: Cause,
    },
    #[error("failed to {attempt} {url}")]
    Request {
        attempt: &'static str,
        url: String,
        #[source]
        source: Cause,
    },
    #[error("{url} ended after {got} of {expected} bytes")]
    Short { url: String, got: u64, expected: u64 },
    #[error("failed to {attempt} {url}: a store behind http cannot do that")]
    NotOverHttp { attempt: &'static str, url: String },
    #[error(
        "{url} cannot be read safely: its server says neither how long it is (Content-Length) nor where it ends (chunks), so that \
         an answer cut short could not be told from a whole one; save it first (curl -o FILE) and read the file"
    )]
    NoEnd { url: String },
    #[error("failed to start the threads that talk to object stores")]
    Runtime(#[source] std::io::Error),
    #[error("a request for {url} was lost")]
    Lost {
        url: String,
        #[source]
        source: tokio::task::JoinError,
    },
}

/// What the client says, which repeats its own causes already.
#[derive(Debug)]
pub struct Cause(object_store::Error);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Cause {}

impl From<object_store::Error> for Cause {
    fn from(error: object_store::Error) -> Cause {
        Cause(error)
    }
}

/// What an error message needs to know of the store that refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Advice {
    /// How to give credentials.
    pub(super) credentials: &'static str,
    /// Whether any credentials were among the settings.
    pub(super) given: bool,
}

/// Sorts what the client says by what a user can do about it.
pub(super) fn classify(attempt: &'static str, url: &str, advice: Advice, error: object_store::Error) -> StoreError {
    use object_store::Error as Failure;
    let url = url.to_owned();
    match error {
        Failure::NotFound { .. } if names_missing_bucket(&error) => {
            StoreError::NoSuchBucket { attempt, url, source: error.into() }
        }
        Failure::NotFound { .. } => StoreError::NotFound { url, source: error.into() },
        Failure::PermissionDenied { .. } | Failure::Unauthenticated { .. } => {
            StoreError::Refused { attempt, url, advice: advice.credentials, source: error.into() }
        }
        Failure::Precondition { .. } if attempt == READ => StoreError::Changed { url, source: error.into() },
        _ if says_refused(&error) => StoreError::Refused { attempt, url, advice: advice.credentials, source: error.into() },
        _ if !advice.given && mentions_instance_credentials(&error) => {
            StoreError::NoCredentials { attempt, url, advice: advice.credentials, source: error.into() }
        }
        _ => StoreError::Request { attempt, url, source: error.into() },
    }
}

/// Refused listings come without a kind of their own; only their text tells the status.
fn says_refused(error: &object_store::Error) -> bool {
    let text = error.to_string();
    ["status code: 401", "status code: 403"].iter().any(|sign| text.contains(sign))
}

/// The attempt whose precondition is that the object is still the listed one.
pub(super) const READ: &str = "read";

/// A missing bucket and a missing key are the same status; only the body tells.
fn names_missing_bucket(error: &object_store::Error) -> bool {
    let text = error.to_string();
    ["NoSuchBucket", "ContainerNotFound", "specified bucket does not exist"].iter().any(|sign| text.contains(sign))
}

/// Without credentials the client asks the machine's metadata service, which only exists in clouds.
fn mentions_instance_credentials(error: &object_store::Error) -> bool {
    let text = error.to_string();
    ["169.254.169.254", "169.254.170.2", "metadata.google.internal", "metadata/", "/token"].iter().any(|sign| text.contains(sign))
}
