//! `--param name=value`. What the values mean is the planner's to say.

use std::collections::BTreeMap;

/// One `name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Param {
    name: String,
    value: String,
}

/// As clap wants it.
pub(crate) fn parse(text: &str) -> Result<Param, String> {
    match text.split_once('=') {
        Some(("", _)) => Err("the name before the \"=\" is missing".to_owned()),
        Some((name, value)) => Ok(Param { name: name.to_owned(), value: value.to_owned() }),
        None => Err(format!("it has no value: write {text}=VALUE")),
    }
}

/// All of them by name.
///
/// # Errors
/// A name that is given twice.
pub(crate) fn by_name(given: Vec<Param>) -> anyhow::Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for Param { name, value } in given {
        anyhow::ensure!(!values.contains_key(&name), "the parameter {name:?} is given twice");
        values.insert(name, value);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_needs_a_name_and_a_value() {
        assert_eq!(parse("a=b=c").unwrap(), Param { name: "a".to_owned(), value: "b=c".to_owned() });
        assert_eq!(parse("a=").unwrap(), Param { name: "a".to_owned(), value: String::new() });
        assert!(parse("a").is_err());
        assert!(parse("=b").is_err());
    }

    #[test]
    fn a_parameter_is_given_once() {
        let twice = vec![parse("a=1").unwrap(), parse("a=2").unwrap()];
        assert_eq!(by_name(twice).unwrap_err().to_string(), "the parameter \"a\" is given twice");
    }
}
