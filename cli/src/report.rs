//! `--report json`: what a run did, or why it failed, as one line for programs.

use crds::Problem;
use engine::report::Report;
use serde_json::{Value, json};

use crate::failure::Failure;

/// Of a run that is done: the engine's report, the flow's name and the warnings.
pub(crate) fn done(flow: &str, warnings: &[Problem], report: &Report) -> String {
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let report = serde_json::to_value(report).expect("a report is numbers and strings");
    line(&merged(json!({"flow": flow, "status": "done", "exitCode": 0, "warnings": warnings}), report))
}

/// Of a run that is not; with what it had done until then, if it had begun.
pub(crate) fn failed(failure: &Failure, reached: Option<Report>) -> String {
    let status = match failure {
        Failure::Request(_) | Failure::Problems(_) => "refused",
        Failure::Flow(_) | Failure::System(_) | Failure::Stdout(_) | Failure::Told(_) => "failed",
        Failure::Interrupted => "interrupted",
    };
    let told = json!({"status": status, "exitCode": failure.exit_code(), "error": error(failure)});
    let reached = reached.map(|report| serde_json::to_value(report).expect("a report is numbers and strings"));
    line(&merged(told, reached.unwrap_or_default()))
}

/// `message` is the whole story in one string; a step's failure has its parts beside it.
fn error(failure: &Failure) -> Value {
    match failure {
        Failure::Request(error) | Failure::System(error) => json!({"message": plan::in_full(error.as_ref())}),
        Failure::Flow(error) => merged(json!({"message": plan::in_full(error)}), parts(error)),
        Failure::Problems(problems) => {
            let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
            json!({"message": "the flow file has problems", "problems": told})
        }
        Failure::Stdout(_) | Failure::Interrupted | Failure::Told(_) => json!({"message": failure.explanation().trim_end()}),
    }
}

fn parts(error: &engine::Error) -> Value {
    match error {
        engine::Error::Step { step, origin, row, source } => {
            json!({"step": step, "input": origin, "row": row, "cause": plan::in_full(source.as_ref())})
        }
        engine::Error::Spill { step: Some(step), source, .. } => json!({"step": step, "cause": source.to_string()}),
        _ => json!({}),
    }
}

/// The members of both, in order.
fn merged(mut first: Value, second: Value) -> Value {
    if let (Some(object), Value::Object(more)) = (first.as_object_mut(), second) {
        object.extend(more);
    }
    first
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_is_told_in_parts_and_as_a_whole() {
        let source = std::io::Error::other("exit status 3").into();
        let failure = Failure::from(engine::Error::Step { step: "s".to_owned(), origin: None, row: None, source });
        let told: Value = serde_json::from_str(&failed(&failure, None)).unwrap();
        let expected = json!({
            "status": "failed", "exitCode": 1,
            "error": {"message": "step \"s\" failed: exit status 3", "step": "s", "input": null, "row": null, "cause": "exit status 3"},
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn a_done_run_is_the_report_with_a_status() {
        let told: Value = serde_json::from_str(&done("f", &[], &Report::default())).unwrap();
        assert_eq!(told["status"], "done");
        assert_eq!(told["flow"], "f");
        assert_eq!(told["steps"], json!([]));
        assert_eq!(told["seconds"], 0.0);
    }
}
