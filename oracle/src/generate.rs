//! Random flows whose result does not depend on partitions, threads or memory: YAML text and the input files it reads.

mod builder;
mod chains;
mod functions;
mod rowwise;
mod shape;
mod shuffles;
mod sources;

use std::path::Path;
use std::{fs, io};

use crds::Document;
use planner::{Checked, Facts, ParamValues, SourceFacts};

use crate::Random;
use builder::Builder;

/// A flow that the seed made.
#[derive(Clone, Debug)]
pub struct GeneratedFlow {
    pub seed: u64,
    pub yaml: String,
    /// Input files: path below the flow's directory, content.
    pub files: Vec<(String, String)>,
    /// The header of each csv and tsv source that has one, by step.
    pub headers: Vec<(String, Vec<String>)>,
}

impl GeneratedFlow {
    /// Writes the input files below a directory.
    ///
    /// # Errors
    /// The first file that cannot be written.
    pub fn write_files(&self, base: &Path) -> io::Result<()> {
        for (path, content) in &self.files {
            let path = base.join(path);
            fs::create_dir_all(path.parent().unwrap_or(base))?;
            fs::write(path, content)?;
        }
        Ok(())
    }

    /// The flow, checked and expanded by the product; a generated flow has no problems.
    ///
    /// # Errors
    /// The problems that the product finds.
    pub fn checked(&self) -> Result<Checked, String> {
        let document = Document::parse(&self.yaml, "flow.yaml").map_err(|problems| listed(&problems))?;
        let known = |(step, fields): &(String, Vec<String>)| {
            (step.clone(), SourceFacts { fields: Some(fields.clone()), ..SourceFacts::default() })
        };
        let facts: Facts = self.headers.iter().map(known).collect();
        planner::check(&document.flow, &facts, &ParamValues::new())
            .map_err(|problems| listed(&planner::locate(&problems, &document.places)))
    }
}

fn listed(problems: &[crds::Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The flow of a seed: 5 to 60 steps over all operators. The same seed makes the same flow for ever.
#[must_use]
pub fn generate(seed: u64) -> GeneratedFlow {
    let mut builder = Builder::new(Random::new(seed));
    let steps = builder.random.between(5, 60);
    let steps = usize::try_from(steps).expect("a small number");
    for _ in 0..builder.random.between(1, 3) {
        sources::add(&mut builder);
    }
    // Some operators need inputs that are not there yet, so a turn may add nothing.
    for _ in 0..4 * steps {
        if builder.len() + builder.unread() >= steps {
            break;
        }
        add(&mut builder);
    }
    builder.write_leaves();
    builder.finish(seed)
}

fn add(builder: &mut Builder) {
    match builder.random.below(100) {
        0..=6 => sources::add(builder),
        7..=54 => rowwise::add(builder),
        55..=87 => shuffles::add(builder),
        88..=94 => chains::add(builder),
        _ => builder.write_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_flow_every_time() {
        for seed in 0..20 {
            assert_eq!(generate(seed).yaml, generate(seed).yaml);
        }
    }

    #[test]
    fn flows_stay_within_their_size_and_use_every_operator() {
        let mut text = String::new();
        for seed in 0..200 {
            let flow = generate(seed);
            let steps = flow.yaml.matches("\n    - name: ").count();
            assert!((2..=70).contains(&steps), "seed {seed} has {steps} steps:\n{}", flow.yaml);
            assert!(flow.yaml.contains("      write: "), "seed {seed} writes nothing:\n{}", flow.yaml);
            text.push_str(&flow.yaml);
        }
        let operators = "read map flatMap filter forEach parallelDo select reduce groupBy combine reduceBy coGroup join union distinct count \
                         sort top limit partition roundRobin merge pipe pipeAsArgs operate write";
        for operator in operators.split_whitespace() {
            assert!(text.contains(&format!("\n      {operator}: ")), "no flow uses {operator}");
        }
        for feature in [
            "persist: true",
            "sideInputs: ",
            "partitions: ",
            "policy: Skip",
            "policy: DeadLetter",
            "fields: [",
            "$(params.",
            "lua: |",
            "deterministic: false",
            "memory: 64Mi",
            "union: {ordered: true}",
            "pathsFrom: ",
            "offset: 2",
        ] {
            assert!(text.contains(feature), "no flow uses {feature}");
        }
    }
}
