//! Where file sinks stage and commit: a volume that remembers who left what.

use std::collections::BTreeMap;

use plan::task::{Attempt, Manifest, TaskId};

#[derive(Debug, Default)]
pub(super) struct Volume {
    /// By the number of the attempt: what it has staged, `None` as long as it is at it.
    pub(super) staged: BTreeMap<u32, Option<Manifest>>,
    pub(super) visible: Option<Manifest>,
}

impl Volume {
    pub(super) fn begins(&mut self, attempt: Attempt) {
        if attempt.task == TaskId::Stage {
            self.staged.insert(attempt.number, None);
        }
    }

    /// An attempt that ends without success removes what it has staged, unless it has handed it over already.
    pub(super) fn gives_up(&mut self, attempt: Attempt) {
        if attempt.task == TaskId::Stage && self.staged.get(&attempt.number).is_some_and(Option::is_none) {
            self.staged.remove(&attempt.number);
        }
    }

    /// False: what it has staged was removed meanwhile.
    pub(super) fn hands_over(&mut self, attempt: Attempt, manifest: &Manifest) -> bool {
        let staged = self.staged.get_mut(&attempt.number);
        staged.map(|staged| *staged = Some(manifest.clone())).is_some()
    }

    /// Takes what was staged by this description into its place, then removes what else is staged.
    pub(super) fn commit(&mut self, manifest: &Manifest) {
        if self.visible.as_ref() != Some(manifest) {
            assert!(self.visible.is_none(), "two manifests are committed");
            let found = self.staged.iter().find(|(_, staged)| staged.as_ref() == Some(manifest)).map(|(number, _)| *number);
            let number = found.unwrap_or_else(|| panic!("what is to be committed is gone: {:?}", self.staged.keys()));
            self.visible = self.staged.remove(&number).flatten();
        }
        self.staged.clear();
    }

    pub(super) fn discard(&mut self, manifest: Option<&Manifest>, below: u32) {
        self.staged.retain(|number, staged| *number >= below && (staged.is_none() || staged.as_ref() != manifest));
    }
}
