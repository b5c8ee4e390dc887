//! "Did you mean": the known word that a mistyped one is nearest to.

/// The candidate that was probably meant, if one is near enough.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = plain(word);
    let limit = (wanted.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| *candidate != word && !candidate.is_empty())
        .map(|candidate| (strsim::osa_distance(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The question for a message: `did you mean "x"?`.
#[must_use]
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, candidates).map(|candidate| format!("did you mean {candidate:?}?"))
}

/// `flat_map`, `flat-map` and `FlatMap` are one word.
fn plain(word: &str) -> String {
    word.chars().filter(|letter| !matches!(letter, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_meant() {
        let words = ["map", "flatMap", "filter", "reduceBy", "groupBy"];
        assert_eq!(nearest("flatmap", words), Some("flatMap"));
        assert_eq!(nearest("flat_map", words), Some("flatMap"));
        assert_eq!(nearest("reduceByKey", words), Some("reduceBy"));
        assert_eq!(nearest("gruopBy", words), Some("groupBy"));
        assert_eq!(nearest("explode", words), None);
        assert_eq!(nearest("x", ["y"]), None);
    }
}
