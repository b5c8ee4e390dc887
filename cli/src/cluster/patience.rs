//! What passes by itself is waited out: an API server that is overloaded or restarts, a connection that broke.

use std::time::{Duration, Instant};

use tonic::Code;

use crate::output;

/// How long a command waits for an answer that it needs once.
pub(crate) const ONE_ANSWER: Duration = Duration::from_secs(30);
/// How long what follows something goes on without a good word.
pub(crate) const FOLLOWING: Duration = Duration::from_secs(120);

pub(crate) const SHORTEST: Duration = Duration::from_millis(250);
pub(crate) const LONGEST: Duration = Duration::from_secs(4);

/// How much longer something is waited for; each new trouble is said once, on standard error.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    attempt: String,
    /// Since when nothing good came.
    since: Option<Instant>,
    pause: Duration,
    said: String,
}

impl Patience {
    /// For an attempt to do something, in words that follow "failed to".
    pub(crate) fn new(limit: Duration, attempt: &str) -> Patience {
        Patience { limit, attempt: attempt.to_owned(), since: None, pause: SHORTEST, said: String::new() }
    }

    /// Something good came: all is as it was at first.
    pub(crate) fn renew(&mut self) {
        self.since = None;
        self.pause = SHORTEST;
        self.said.clear();
    }

    /// Whether it may be tried once more after a trouble that passes.
    pub(crate) fn lasts(&mut self, trouble: &str) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.limit {
            return false;
        }
        if trouble != self.said {
            output::tell(&format!("failed to {}: {trouble}; trying again\n", self.attempt));
            trouble.clone_into(&mut self.said);
        }
        true
    }

    /// Waits a little, each time longer.
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST);
    }
}

/// Asks until there is an answer, or an error that does not pass, or for so long.
pub(crate) async fn patiently<T>(
    limit: Duration,
    attempt: &str,
    mut ask: impl AsyncFnMut() -> kube::Result<T>,
) -> kube::Result<T> {
    let mut patience = Patience::new(limit, attempt);
    loop {
        match ask().await {
            Err(error) if passes(&error) && patience.lasts(&words(&error)) => patience.pause().await,
            answer => return answer,
        }
    }
}

/// Whether the same request may be answered later: the server says so, or the connection failed.
pub(crate) fn passes(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 408 | 429 | 500..=599),
        kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => true,
        // A server that is not trusted will not be trusted later.
        kube::Error::Service(_) => !words(error).contains("certificate"),
        kube::Error::UpgradeConnection(_) => true,
        _ => false,
    }
}

/// Whether the operator may answer the same question later: it changes leaders, or the connection failed.
pub(crate) fn operator_passes(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::Aborted | Code::DeadlineExceeded)
}

/// What is wrong, and what is below it, in one line.
pub(crate) fn words(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    plan::in_full(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16) -> kube::Error {
        let text = format!(r#"{{"status": "Failure", "code": {code}, "message": "it says {code}", "reason": "R"}}"#);
        kube::Error::Api(Box::new(serde_json::from_str(&text).unwrap()))
    }

    #[test]
    fn what_the_server_may_answer_later_passes_and_what_it_refuses_does_not() {
        let passing: Vec<u16> = (400..=599).filter(|code| passes(&answer(*code))).filter(|code| *code <= 504).collect();
        let expected: Vec<u16> = [408, 429].into_iter().chain(500..=504).collect();
        assert_eq!(passing, expected);
    }

    #[test]
    fn patience_ends_and_is_whole_again_after_a_good_word() {
        let mut none = Patience::new(Duration::ZERO, "do it");
        assert!(!none.lasts("bad"));
        let mut patience = Patience::new(Duration::from_secs(3600), "do it");
        assert!(patience.lasts("bad") && patience.lasts("bad") && patience.said == "bad" && patience.since.is_some());
        patience.renew();
        assert!(patience.since.is_none() && patience.said.is_empty());
    }
}
