//! `gleamflow crd`: the CustomResourceDefinition, as `kubectl apply` takes it.

use clap::Args;

use crate::failure::Failure;
use crate::output;

/// Print the Kubernetes CustomResourceDefinition of GleamFlow as YAML
#[derive(Debug, Args)]
pub(crate) struct Crd {}

impl Crd {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        output::print(crds::crd_yaml())
    }
}
