//! How a part of an object store is reached, where that is not left to the environment: a prefix, and credentials in files.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::open::{Scheme, advice, knows};

/// How everything below a prefix is reached. The environment has no part in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// `s3://bucket`, or a path in it.
    pub prefix: String,
    /// Where the store is, if it is not the provider's own.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// A directory of files named as the variables of the providers' tools (`AWS_ACCESS_KEY_ID`, ...), holding their values.
    /// `None`: requests are not signed.
    pub secrets: Option<PathBuf>,
}

type Settings = Vec<(String, String)>;

impl Access {
    /// Whether a URL is the prefix or below it.
    pub(super) fn covers(&self, url: &str) -> bool {
        let prefix = self.prefix.trim_end_matches('/');
        url.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// What the store is set up with, as variables.
    pub(super) fn settings(&self) -> Result<Settings, StoreError> {
        let scheme = Scheme::of(&self.prefix).ok_or_else(|| StoreError::UnknownScheme { url: self.prefix.clone() })?;
        let mut settings = match &self.secrets {
            Some(directory) => self.read(directory)?,
            None => unsigned(scheme),
        };
        if self.secrets.is_some() && !settings.iter().any(|(name, _)| knows(scheme, name)) {
            return Err(StoreError::EmptySecret { prefix: self.prefix.clone(), advice: advice(scheme, &settings).credentials });
        }
        self.place(scheme, &mut settings)?;
        Ok(settings)
    }

    /// Adds endpoint and region.
    fn place(&self, scheme: Scheme, settings: &mut Settings) -> Result<(), StoreError> {
        let refused = |problem| Err(StoreError::Access { prefix: self.prefix.clone(), problem });
        let (endpoint, region) = match scheme {
            Scheme::S3 => (Some("AWS_ENDPOINT_URL"), Some("AWS_REGION")),
            Scheme::Google => (Some("GOOGLE_BASE_URL"), None),
            Scheme::Azure => (Some("AZURE_STORAGE_ENDPOINT"), None),
            Scheme::Http => (None, None),
        };
        match (&self.endpoint, endpoint) {
            (Some(value), Some(name)) => set(settings, name, value),
            (Some(_), None) => return refused("http stores have no endpoint beside their URL"),
            (None, _) => {}
        }
        match (&self.region, region) {
            (Some(value), Some(name)) => set(settings, name, value),
            (Some(_), None) => return refused("only s3:// stores have a region"),
            (None, _) => {}
        }
        Ok(())
    }

    /// The files of a mounted Secret; the kubelet's own begin with two dots.
    fn read(&self, directory: &Path) -> Result<Settings, StoreError> {
        let failed = |path: &Path, source| StoreError::Secret { prefix: self.prefix.clone(), path: path.to_owned(), source };
        let entries = std::fs::read_dir(directory).map_err(|source| failed(directory, source))?;
        let mut settings = Settings::new();
        for entry in entries {
            let path = entry.map_err(|source| failed(directory, source))?.path();
            let Some(name) = path.file_name().and_then(OsStr::to_str).filter(|name| !name.starts_with('.')) else { continue };
            let value = std::fs::read_to_string(&path).map_err(|source| failed(&path, source))?;
            settings.push(setting(name, value.trim()));
        }
        Ok(settings)
    }
}

/// Google's variable names a file elsewhere; in a Secret it holds what that file would.
fn setting(name: &str, value: &str) -> (String, String) {
    let is_key = name == "GOOGLE_APPLICATION_CREDENTIALS" && value.starts_with('{');
    (if is_key { "GOOGLE_SERVICE_ACCOUNT_KEY" } else { name }.to_owned(), value.to_owned())
}

fn unsigned(scheme: Scheme) -> Settings {
    let name = match scheme {
        Scheme::S3 => "AWS_SKIP_SIGNATURE",
        Scheme::Google => "GOOGLE_SKIP_SIGNATURE",
        Scheme::Azure => "AZURE_SKIP_SIGNATURE",
        Scheme::Http => return Settings::new(),
    };
    vec![(name.to_owned(), "true".to_owned())]
}

fn set(settings: &mut Settings, name: &str, value: &str) {
    settings.retain(|(known, _)| known != name);
    settings.push((name.to_owned(), value.to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(prefix: &str) -> Access {
        Access { prefix: prefix.to_owned(), endpoint: None, region: None, secrets: None }
    }

    #[test]
    fn a_prefix_covers_what_is_below_it_and_no_neighbour() {
        let check = |prefix: &str, url: &str, expected| assert_eq!(access(prefix).covers(url), expected, "{prefix} {url}");
        check("s3://a", "s3://a/x", true);
        check("s3://a/", "s3://a", true);
        check("s3://a/b", "s3://a/b/c", true);
        check("s3://a/b", "s3://a/bc", false);
        check("s3://a", "s3://ab/x", false);
        check("s3://a", "gs://a/x", false);
    }

    #[test]
    fn the_longest_prefix_decides() {
        let stores = super::super::Stores::from_environment_and(vec![access("s3://a"), access("s3://a/b/c"), access("s3://a/b")]);
        let found = |url: &str| stores.accesses.iter().find(|access| access.covers(url)).map(|access| access.prefix.as_str());
        assert_eq!(found("s3://a/b/c/d"), Some("s3://a/b/c"));
        assert_eq!(found("s3://a/b/d"), Some("s3://a/b"));
        assert_eq!(found("s3://a/c"), Some("s3://a"));
        assert_eq!(found("s3://b"), None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_nothing_is_ignored() {
        let check = |access: Access, expected: &str| {
            let error = access.settings().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(Access { region: Some("x".to_owned()), ..access("gs://a") }, "only s3:// stores have a region");
        check(Access { endpoint: Some("x".to_owned()), ..access("https://a") }, "no endpoint");
        check(Access { secrets: Some("/no/such".into()), ..access("s3://a") }, "credentials for s3://a in \"/no/such\"");
        check(access("ftp://a"), "known are s3://");
        let empty = tempfile::tempdir().unwrap();
        std::fs::write(empty.path().join("password"), "x").unwrap();
        check(Access { secrets: Some(empty.path().into()), ..access("s3://a") }, "has none of the keys");
    }

    #[test]
    fn files_of_a_secret_are_settings() {
        let secret = tempfile::tempdir().unwrap();
        for (name, value) in [("AWS_ACCESS_KEY_ID", "id\n"), ("AWS_ENDPOINT_URL", "old"), ("..data", "not this")] {
            std::fs::write(secret.path().join(name), value).unwrap();
        }
        let access = Access { secrets: Some(secret.path().into()), endpoint: Some("new".to_owned()), ..access("s3://a") };
        let mut settings = access.settings().unwrap();
        settings.sort();
        let expected = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_ENDPOINT_URL", "new")];
        assert_eq!(settings, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(setting("GOOGLE_APPLICATION_CREDENTIALS", "{}").0, "GOOGLE_SERVICE_ACCOUNT_KEY");
    }
}
