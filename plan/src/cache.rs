//! Names of results that outlive a run: what a persisted collection is made of, and the fingerprint of all that.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// 256 bits that stand for everything that a collection's rows depend on; shown in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(String);

/// A text that is no fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hexadecimal digits, not {0:?}")]
pub struct NoFingerprint(String);

impl Fingerprint {
    /// The fingerprint with these bytes.
    #[must_use]
    pub fn new(digest: [u8; 32]) -> Self {
        Self(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// It names files: nothing but digits may get in.
impl TryFrom<String> for Fingerprint {
    type Error = NoFingerprint;

    fn try_from(text: String) -> Result<Self, NoFingerprint> {
        let fits = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if fits { Ok(Self(text)) } else { Err(NoFingerprint(text)) }
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One file that a source reads, and which version of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// The path or URL as the flow finds it.
    pub name: String,
    /// Differs where the bytes do: a digest, or the tag that a store gives each version.
    pub version: String,
}

/// What a persisted collection is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// The collection's name in its flow.
    pub collection: String,
    pub fingerprint: Fingerprint,
    /// Everything that the rows depend on, producers first.
    pub ingredients: Vec<Ingredient>,
}

/// One thing that the rows of a collection depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingredient {
    pub step: String,
    pub part: Part,
    /// Differs where the part does.
    pub digest: String,
}

/// Which part of a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Part {
    /// The version of Gleamflow and of its cache.
    Engine,
    /// `spec.lua`.
    Prelude,
    /// The text of its function.
    Function,
    /// Its operator with all that stands in it, other than a function.
    Operator,
    /// What it reads, in order.
    Wiring,
    /// `--seed`, where functions draw random numbers.
    Seed,
    /// A file that it reads.
    Input(String),
}

impl Recipe {
    /// The steps whose files it depends on.
    pub fn readers(&self) -> impl Iterator<Item = &str> {
        let files = self.ingredients.iter().filter(|one| matches!(one.part, Part::Input(_)));
        files.map(|one| one.step.as_str())
    }

    /// What is not as it was in a former recipe, in words; the first few things.
    #[must_use]
    pub fn changes(&self, former: &Recipe) -> String {
        const SHOWN: usize = 3;
        let (now, before) = (self.by_place(), former.by_place());
        let mut told = Vec::new();
        for (place, digest) in &now {
            match before.get(place) {
                None => told.push(place.came(&before)),
                Some(former) if former != digest => told.push(place.changed()),
                Some(_) => {}
            }
        }
        told.extend(before.keys().filter(|place| !now.contains_key(*place)).map(|place| place.went(&now)));
        let mut once: Vec<String> = Vec::new();
        told.into_iter().for_each(|text| {
            if !once.contains(&text) {
                once.push(text);
            }
        });
        match once.len() {
            0 => "the order of its steps changed".into(),
            1..=SHOWN => once.join(", "),
            many => format!("{} and {} more", once[..SHOWN].join(", "), many - SHOWN),
        }
    }

    /// Several nodes of one step have parts alike: those are told apart by their number.
    fn by_place(&self) -> BTreeMap<Place<'_>, &str> {
        let mut places = BTreeMap::new();
        for one in &self.ingredients {
            let mut place = Place { step: &one.step, part: &one.part, number: 0 };
            while places.contains_key(&place) {
                place.number += 1;
            }
            places.insert(place, one.digest.as_str());
        }
        places
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place<'r> {
    step: &'r str,
    part: &'r Part,
    number: usize,
}

impl Place<'_> {
    fn changed(&self) -> String {
        match self.part {
            Part::Engine => "it was made by another version of gleamflow".into(),
            Part::Prelude => "the flow's `lua` changed".into(),
            Part::Function => format!("the function of `{}` changed", self.step),
            Part::Operator => format!("the operator of `{}` changed", self.step),
            Part::Wiring => format!("what `{}` reads changed", self.step),
            Part::Seed => "the seed changed".into(),
            Part::Input(name) => format!("input {name} changed"),
        }
    }

    fn came(&self, before: &BTreeMap<Place<'_>, &str>) -> String {
        match self.part {
            Part::Input(name) if knows(before, self.step) => format!("input {name} is new"),
            _ if knows(before, self.step) => self.changed(),
            _ => format!("`{}` is new", self.step),
        }
    }

    fn went(&self, now: &BTreeMap<Place<'_>, &str>) -> String {
        match self.part {
            Part::Input(name) if knows(now, self.step) => format!("input {name} is gone"),
            _ if knows(now, self.step) => self.changed(),
            _ => format!("`{}` is gone", self.step),
        }
    }
}

fn knows(places: &BTreeMap<Place<'_>, &str>, step: &str) -> bool {
    places.keys().any(|place| place.step == step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(parts: &[(&str, Part, &str)]) -> Recipe {
        let ingredient = |(step, part, digest): &(&str, Part, &str)| Ingredient {
            step: (*step).into(),
            part: part.clone(),
            digest: (*digest).into(),
        };
        Recipe {
            collection: "c".into(),
            fingerprint: Fingerprint::new([7; 32]),
            ingredients: parts.iter().map(ingredient).collect(),
        }
    }

    fn input(name: &str) -> Part {
        Part::Input(name.into())
    }

    #[test]
    fn a_recipe_tells_what_changed() {
        let check = |former: &[(&str, Part, &str)], now: &[(&str, Part, &str)], expected: &str| {
            assert_eq!(recipe(now).changes(&recipe(former)), expected);
        };
        let read = |version| ("read", input("a.txt"), version);
        let map = |digest| ("map", Part::Function, digest);
        check(&[read("1"), map("x")], &[read("2"), map("x")], "input a.txt changed");
        check(&[read("1"), map("x")], &[read("1"), map("y")], "the function of `map` changed");
        check(&[read("1")], &[read("1"), ("read", input("b.txt"), "1")], "input b.txt is new");
        check(&[read("1"), ("read", input("b.txt"), "1")], &[read("1")], "input b.txt is gone");
        check(&[read("1"), map("x")], &[read("1")], "`map` is gone");
        check(&[read("1")], &[read("1"), map("x"), ("map", Part::Operator, "1")], "`map` is new");
        check(&[map("x"), map("y")], &[map("x"), map("z")], "the function of `map` changed");
        let many = ["a", "b", "c", "d", "e"].map(|name| ("read", input(name), "1"));
        check(&[read("1")], &[&[read("1")][..], &many].concat(), "input a is new, input b is new, input c is new and 2 more");
    }

    #[test]
    fn a_fingerprint_is_digits_and_nothing_else() {
        let text = String::from(Fingerprint::new([0xa5; 32]));
        assert_eq!(text, "a5".repeat(32));
        assert!(Fingerprint::try_from(text).is_ok());
        for text in ["", "../../etc/passwd", &"A5".repeat(32), &"a5".repeat(33)] {
            assert!(Fingerprint::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
