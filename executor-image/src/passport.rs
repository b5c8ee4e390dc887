//! What a run's Secret gives to its executors, as it is mounted: a certificate and a token, renewed while the run goes on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use proto::credentials::{BadPapers, Credentials, Door, Papers};
use proto::token::authorization;
use tonic::metadata::{Ascii, MetadataValue};

/// What is mounted is looked at again after so long; the kubelet takes longer to change it.
const FRESH: Duration = Duration::from_secs(1);

/// What lets an executor in.
#[derive(Debug)]
pub struct Passport {
    /// `None`: without TLS, for tests of one process.
    credentials: Option<Arc<Credentials>>,
    /// Where they are mounted.
    folder: Option<PathBuf>,
    token: Mutex<Token>,
}

#[derive(Debug)]
struct Token {
    value: MetadataValue<Ascii>,
    read: Instant,
}

/// What is mounted lets nobody in.
#[derive(Debug, thiserror::Error)]
pub enum PassportError {
    #[error("failed to read {path:?}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the token is no text that a call can carry")]
    Token,
    #[error("what is mounted for the run cannot be used")]
    Papers(#[from] BadPapers),
}

impl Passport {
    /// From the folder where the run's Secret is mounted.
    ///
    /// # Errors
    /// [`PassportError`].
    pub fn mounted(folder: &Path) -> Result<Passport, PassportError> {
        let credentials = Credentials::new(Papers::read(folder)?, Door::Members)?;
        let token = Mutex::new(Token { value: token(folder)?, read: Instant::now() });
        Ok(Passport { credentials: Some(credentials), folder: Some(folder.to_owned()), token })
    }

    /// One that does not change.
    ///
    /// # Errors
    /// [`PassportError::Token`].
    pub fn given(credentials: Option<Arc<Credentials>>, token: &str) -> Result<Passport, PassportError> {
        let value = authorization(token).ok_or(PassportError::Token)?;
        Ok(Passport { credentials, folder: None, token: Mutex::new(Token { value, read: Instant::now() }) })
    }

    /// For the next connection.
    #[must_use]
    pub fn credentials(&self) -> Option<&Arc<Credentials>> {
        self.credentials.as_ref()
    }

    /// For the next call. What is mounted by now counts for the next connection too.
    #[must_use]
    pub fn token(&self) -> MetadataValue<Ascii> {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(folder), true) = (&self.folder, token.read.elapsed() >= FRESH) {
            token.read = Instant::now();
            match self.read_again(folder) {
                Ok(value) => token.value = value,
                // It may just be changing; what we have may still be good.
                Err(error) => tracing::debug!(%error, "what is mounted for the run cannot be read now"),
            }
        }
        token.value.clone()
    }

    fn read_again(&self, folder: &Path) -> Result<MetadataValue<Ascii>, PassportError> {
        let value = token(folder)?;
        if let Some(credentials) = &self.credentials {
            credentials.change(Papers::read(folder)?)?;
        }
        Ok(value)
    }
}

fn token(folder: &Path) -> Result<MetadataValue<Ascii>, PassportError> {
    let path = folder.join("token");
    let text = std::fs::read_to_string(&path).map_err(|source| PassportError::Read { path, source })?;
    authorization(&text).ok_or(PassportError::Token)
}
