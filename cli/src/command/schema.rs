//! `gleamflow schema`: the JSON schema of flow files, for editors.

use clap::Args;

use crate::failure::Failure;
use crate::output;

/// Print the JSON schema of flow files, which lets editors complete and check them
#[derive(Debug, Args)]
pub(crate) struct Schema {}

impl Schema {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        output::print(format!("{:#}\n", crds::json_schema()))
    }
}
