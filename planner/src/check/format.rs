//! `stdout.format`: C's printf verbs.

/// How many fields a format takes.
///
/// # Errors
/// What is wrong with it, and what to do.
pub(crate) fn verbs(format: &str) -> Result<usize, (String, Option<String>)> {
    let mut count = 0;
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        let verb = &rest[at + 1..];
        let options = verb.trim_start_matches(['-', '+', ' ', '#', '0']).trim_start_matches(|digit: char| digit.is_ascii_digit());
        let options = options.strip_prefix('.').map_or(options, |more| more.trim_start_matches(|digit: char| digit.is_ascii_digit()));
        let written = &verb[..verb.len() - options.len()];
        match options.chars().next() {
            Some('%') if written.is_empty() => {}
            Some('s' | 'v' | 'q' | 'd' | 'x' | 'f' | 'e' | 'g') => count += 1,
            Some(letter) => return Err(unknown(written, letter)),
            None => return Err((format!("the format ends inside a verb: \"%{written}\""), Some("write %% for a percent sign".to_owned()))),
        }
        let letter = options.chars().next().map_or(0, char::len_utf8);
        rest = &options[letter..];
    }
    Ok(count)
}

fn unknown(written: &str, letter: char) -> (String, Option<String>) {
    let help = match letter {
        'i' | 'u' | 'l' => "write %d for an integer",
        'c' => "write %s for text",
        '*' => "write the width as a number",
        _ => "the verbs are %s %v %q %d %x %f %e %g, and %% for a percent sign",
    };
    (format!("the format has an unknown verb \"%{written}{letter}\""), Some(help.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_counted() {
        for (format, count) in [("", 0), ("a", 0), ("%s\t%d", 2), ("%%", 0), ("%-10s|%05.2f|%+d%%", 3), ("%q %v %x %e %g", 5)] {
            assert_eq!(verbs(format), Ok(count), "{format}");
        }
    }

    #[test]
    fn unknown_verbs_are_refused() {
        for (format, message) in [
            ("%y", "the format has an unknown verb \"%y\""),
            ("%5ld", "the format has an unknown verb \"%5l\""),
            ("%*d", "the format has an unknown verb \"%*\""),
            ("100%", "the format ends inside a verb: \"%\""),
            ("%-5%", "the format has an unknown verb \"%-5%\""),
            ("%é", "the format has an unknown verb \"%é\""),
        ] {
            assert_eq!(verbs(format).map_err(|(message, _)| message), Err(message.to_owned()), "{format}");
        }
    }
}
