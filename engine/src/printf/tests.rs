//! The verbs against what C's printf prints, and what they refuse.

use super::*;

fn print(format: &str, row: &[Val<'_>]) -> Result<String, MisfitError> {
    let mut out = Vec::new();
    Format::parse(format).unwrap().write(&mut out, row)?;
    Ok(String::from_utf8(out).unwrap())
}

fn check(format: &str, value: Val<'_>, expected: &str) {
    assert_eq!(print(format, &[value]).unwrap(), expected, "{format} of {value:?}");
}

/// What the shell's printf, which is C's, prints for the same arguments.
fn c_printf(format: &str, values: &[String]) -> Vec<String> {
    let output =
        std::process::Command::new("/usr/bin/printf").env("LC_ALL", "C").arg(format!("{format}\n")).args(values).output();
    String::from_utf8(output.unwrap().stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Formats without a verb letter: every flag, width and precision, and some together.
const SHAPES: [&str; 21] = [
    "", "8", "-8", "08", "+", "+08", " ", " 08", "#", "#012", "-012", ".0", ".1", "12.3", "-12.3", "012.3", "#.0", "+.2",
    "20.15", ".17", "-+20.4",
];

#[test]
fn integers_print_as_in_c() {
    let values = [0, 1, -1, 42, -12345, 1 << 40, i64::MAX, i64::MIN];
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    for verb in ["d", "x", "X"] {
        // C leaves `#` before `d` undefined.
        for shape in SHAPES.into_iter().filter(|shape| verb != "d" || !shape.contains('#')) {
            let format = format!("[%{shape}{verb}]");
            for (value, expected) in values.iter().zip(c_printf(&format, &texts)) {
                check(&format, Val::Int(*value), &expected);
            }
        }
    }
}

#[test]
fn floats_print_as_in_c() {
    let values = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        1.5,
        2.5,
        0.125,
        9.995,
        99999.95,
        999_999.5,
        1e6,
        1e15,
        1e16,
        123_456.789,
        1e-4,
        1e-5,
        0.00099995,
        1e100,
        1e300,
        5e-324,
        1.7976931348623157e308,
        0.1,
        1.0 / 3.0,
        -2.0 / 3.0,
        100.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    // The shell's printf reads its arguments as long doubles: hexadecimal digits keep them what they are.
    let texts: Vec<String> = values.iter().map(|value| hexadecimal(*value)).collect();
    for verb in ["f", "e", "E", "g", "G"] {
        // glibc forgets the zeros of `%#g` where rounding carries (999999.5).
        for shape in SHAPES.into_iter().filter(|shape| !matches!(verb, "g" | "G") || !shape.contains('#')) {
            let format = format!("[%{shape}{verb}]");
            for (value, expected) in values.iter().zip(c_printf(&format, &texts)) {
                check(&format, Val::Float(*value), &expected);
            }
        }
    }
}

#[test]
fn the_flag_for_zeros_keeps_them_in_g() {
    check("%#g", Val::Float(999_999.5), "1.00000e+06");
    check("%#g", Val::Float(0.5), "0.500000");
    check("%#.3g", Val::Int(100), "100.");
    check("%#.1g", Val::Float(1e9), "1.e+09");
}

fn hexadecimal(f: f64) -> String {
    if !f.is_finite() {
        return f.to_string();
    }
    let (bits, sign) = (f.to_bits(), if f.is_sign_negative() { "-" } else { "" });
    let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i64, bits & ((1 << 52) - 1));
    match exponent {
        0 => format!("{sign}0x0.{fraction:013x}p-1022"),
        _ => format!("{sign}0x1.{fraction:013x}p{}", exponent - 1023),
    }
}

#[test]
fn integers_keep_all_their_digits_under_verbs_for_floats() {
    check("%f", Val::Int(9_007_199_254_740_993), "9007199254740993.000000");
    check("%.2f", Val::Int(i64::MIN), "-9223372036854775808.00");
    check("%.0f", Val::Int(3), "3");
    check("%#.0f", Val::Int(3), "3.");
    check("%e", Val::Int(1_250_000), "1.250000e+06");
    check("%.1e", Val::Int(125), "1.2e+02");
    check("%g", Val::Int(1_000_000), "1e+06");
    check("%g", Val::Int(999_999), "999999");
    check("%.17g", Val::Int(9_007_199_254_740_993), "9007199254740993");
    check("%06.1f", Val::Int(-4), "-004.0");
    check("%g", Val::Int(0), "0");
}

#[test]
fn s_and_v_take_anything() {
    for verb in ["%s", "%v"] {
        check(verb, Val::Nil, "nil");
        check(verb, Val::Bool(true), "true");
        check(verb, Val::Int(-4), "-4");
        check(verb, Val::Float(4.0), "4.0");
        check(verb, Val::Str(b"text"), "text");
        check(verb, Val::List(&[0x92, 0x01, 0xc0]), "[1,null]");
        check(verb, Val::Map(&[0x81, 0xa1, b'k', 0x01]), r#"{"k":1}"#);
    }
    check("[%6s]", Val::Str(b"abc"), "[   abc]");
    check("[%-6s]", Val::Str(b"abc"), "[abc   ]");
    check("[%.2s]", Val::Str(b"abc"), "[ab]");
    check("[%5.1s]", Val::Nil, "[    n]");
    check("[%2s]", Val::Str(b"abc"), "[abc]");
}

#[test]
fn q_quotes_strings() {
    check("%q", Val::Str(b"a \"b\"\n\\"), r#""a \"b\"\n\\""#);
    check("[%8q]", Val::Str(b"ab"), r#"[    "ab"]"#);
    check("%q", Val::Str(b"\"a\xff\xfeb\xc3"), r#""\"a\xff\xfeb\xc3""#);
    check("%q", Val::Str("é".as_bytes()), r#""é""#);
}

#[test]
fn several_verbs_take_the_fields_in_order() {
    let row = [Val::Str(b"the"), Val::Int(12), Val::Float(0.5)];
    assert_eq!(print("-%s\t%05d|%.1f%%\n", &row).unwrap(), "-the\t00012|0.5%\n");
    assert_eq!(print("100%%", &[]).unwrap(), "100%");
    assert_eq!(Format::parse("%s %% %d").unwrap().verbs(), 2);
}

#[test]
fn an_integral_float_is_an_integer_for_d() {
    check("%d", Val::Float(4.0), "4");
    check("%x", Val::Float(-1.0), "ffffffffffffffff");
    check("%d", Val::Float(-9_223_372_036_854_775_808.0), "-9223372036854775808");
}

#[test]
fn a_verb_that_does_not_fit_is_refused() {
    for (format, value) in [
        ("%d", Val::Nil),
        ("%d", Val::Str(b"4")),
        ("%d", Val::Float(4.5)),
        ("%d", Val::Float(9_223_372_036_854_775_808.0)),
        ("%d", Val::Float(f64::NAN)),
        ("%x", Val::Bool(true)),
        ("%f", Val::Str(b"4")),
        ("%e", Val::Nil),
        ("%g", Val::List(&[0x90])),
        ("%q", Val::Int(1)),
        ("%q", Val::Nil),
    ] {
        print(format, &[value]).expect_err(format);
    }
    let error = print("%s %5d", &[Val::Nil, Val::Str(b"4")]).unwrap_err();
    assert_eq!(error.to_string(), "verb %d does not fit field 2, which is a string");
}

#[test]
fn another_number_of_fields_than_verbs_is_refused() {
    let error = print("%s %s", &[Val::Nil]).unwrap_err();
    assert_eq!(error.to_string(), "verbs of the format: 2, fields of the row: 1");
    print("%s", &[Val::Nil, Val::Nil]).unwrap_err();
    print("none", &[Val::Nil]).unwrap_err();
}

#[test]
fn a_text_that_is_no_format_is_refused() {
    let problem = |format: &str| Format::parse(format).unwrap_err().to_string();
    assert!(problem("%s %y").starts_with("unknown verb \"%y\" in format"));
    assert!(problem("%-5ld").starts_with("unknown verb \"%-5l\""));
    assert!(problem("%*d").starts_with("unknown verb \"%*\""));
    assert!(problem("%é").starts_with("unknown verb \"%é\""));
    assert!(problem("50%").contains("ends inside a verb"));
    assert!(problem("%5.").contains("ends inside a verb"));
    assert!(problem("%99999999999999999999d").contains("above 9999"));
}
