//! Answers over http that do not say how long they are: what is made or compressed on the way. The client library refuses them, so
//! this asks by itself, with the library's own connections. Never takes a body for whole whose end cannot be told.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use bytes::Bytes;
use http_body::Body;
use object_store::client::{HttpClient, HttpConnector, HttpRequest, HttpRequestBody, HttpResponse, ReqwestConnector};

use super::download::{self, Blocks, Download};
use super::error::{READ, classify};
use super::open::client_options;
use super::{Location, StoreError};

/// How often a request is tried whose connection broke before the answer came.
const TRIES: u32 = 3;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(300);

/// How a server answers when it is asked for all of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With so many bytes.
    Measured(u64),
    /// With as many bytes as come until it says that these were all.
    Unmeasured,
    /// With as many bytes as come until the connection ends, for whatever reason.
    Unended,
    /// Not with the object.
    Other,
}

impl Location {
    /// How the server behind http answers; its body is not read.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn answer(&self) -> Result<Answer, StoreError> {
        let response = self.engine.block_on(ask(self.url()))?.map_err(|source| self.refuse(source))?;
        Ok(judge(&response))
    }

    /// Streams an object of unknown length.
    #[must_use]
    pub fn unmeasured(&self) -> UnmeasuredReader {
        UnmeasuredReader { location: self.clone(), download: Download::default(), current: Bytes::new() }
    }

    fn refuse(&self, source: object_store::Error) -> StoreError {
        classify(READ, self.url(), self.store.advice, source)
    }
}

async fn ask(url: &str) -> object_store::Result<HttpResponse> {
    let mut target = url::Url::parse(url).map_err(failed)?;
    target.set_fragment(None);
    let client = ReqwestConnector::default().connect(&client_options().with_allow_http(true))?;
    let mut tries = 0;
    loop {
        tries += 1;
        match once(&client, target.as_str()).await {
            Ok(response) => return Ok(response),
            Err(error) if tries >= TRIES => return Err(error),
            Err(_) => tokio::time::sleep(PAUSE * tries).await,
        }
    }
}

async fn once(client: &HttpClient, url: &str) -> object_store::Result<HttpResponse> {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.uri_mut() = url.parse().map_err(failed)?;
    let response = client.execute(request).await.map_err(failed)?;
    if response.status().is_server_error() {
        return Err(failed(format!("the server answered with status code: {}", response.status())));
    }
    Ok(response)
}

fn judge(response: &HttpResponse) -> Answer {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    if response.status() != http::StatusCode::OK {
        return Answer::Other;
    }
    if let Some(length) = header(http::header::CONTENT_LENGTH).and_then(|length| length.parse().ok()) {
        return Answer::Measured(length);
    }
    let chunked = header(http::header::TRANSFER_ENCODING).is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"));
    // From its second version on, http itself says which block of a body is the last.
    if chunked || response.version() >= http::Version::HTTP_2 { Answer::Unmeasured } else { Answer::Unended }
}

fn failed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic { store: "HTTP", source: why.into() }
}

/// The bytes of an object of unknown length, in order.
#[derive(Debug)]
pub struct UnmeasuredReader {
    location: Location,
    download: Download,
    current: Bytes,
}

async fn bring(url: String, blocks: Blocks) -> object_store::Result<()> {
    let response = ask(&url).await?;
    match judge(&response) {
        Answer::Measured(_) | Answer::Unmeasured => {}
        Answer::Unended | Answer::Other => {
            return Err(failed(format!("the server answers in another way now: {}", response.status())));
        }
    }
    let mut body = response.into_body();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        // What is not bytes is a trailer.
        let Ok(block) = frame.map_err(failed)?.into_data() else { continue };
        if blocks.send(Ok(block)).await.is_err() {
            break;
        }
    }
    Ok(())
}

impl io::Read for UnmeasuredReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let UnmeasuredReader { location, download, current } = self;
        let next = || download.next_block(location, |blocks| bring(location.url().to_string(), blocks));
        download::read(current, buffer, next)
    }
}
