//! What is known of the fields of a collection's rows, and which column a name or position means.

use crds::FieldRef;
use crds::nearest::did_you_mean;

/// The fields of rows: those known, and what may follow them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) fields: Vec<Option<String>>,
    pub(crate) rest: Rest,
}

/// What follows the known fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing: the width is known.
    Nothing,
    /// Any number of fields without names.
    Unnamed,
    /// Fields with names that nobody has looked up.
    Unread,
    /// Nobody will see them: there are no rows.
    NoRows,
    /// What the rows are was already reported as a problem.
    Broken,
}

/// Why a field cannot be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    NotPositive(i64),
    Beyond {
        position: i64,
        width: usize,
    },
    NoSuchName {
        name: String,
        known: Vec<String>,
    },
    Ambiguous(String),
    Unnamed(String),
    Unread(String),
    /// Silent: a consequence of another problem.
    Broken,
}

impl Names {
    /// Rows of which nothing is known.
    pub(crate) fn unknown() -> Self {
        Self { fields: Vec::new(), rest: Rest::Unnamed }
    }

    pub(crate) fn with_rest(rest: Rest) -> Self {
        Self { fields: Vec::new(), rest }
    }

    /// Rows of a known width without names.
    pub(crate) fn unnamed(width: usize) -> Self {
        Self { fields: vec![None; width], rest: Rest::Nothing }
    }

    /// Exactly these fields.
    pub(crate) fn named(names: impl IntoIterator<Item = String>) -> Self {
        let fields = names.into_iter().map(|name| Some(name).filter(|name| !name.is_empty()));
        Self { fields: fields.collect(), rest: Rest::Nothing }
    }

    /// How many fields the rows have, where that is known.
    pub(crate) fn width(&self) -> Option<usize> {
        (self.rest == Rest::Nothing).then_some(self.fields.len())
    }

    /// Whether a field has a name.
    pub(crate) fn has_any(&self) -> bool {
        self.fields.iter().any(Option::is_some)
    }

    /// Rows without names that may be less wide, or more.
    pub(crate) fn of_any_width(&self) -> Self {
        if self.rest == Rest::Nothing { Self::unknown() } else { self.clone() }
    }

    /// All names, where all are known.
    pub(crate) fn complete(&self) -> Option<Vec<String>> {
        self.width()?;
        self.fields.iter().cloned().collect()
    }

    /// The 0-based column that a field is.
    pub(crate) fn column(&self, field: &FieldRef) -> Result<u32, Missing> {
        match field {
            FieldRef::Position(position) => self.position(*position),
            FieldRef::Name(name) => self.name(name),
        }
    }

    fn position(&self, position: i64) -> Result<u32, Missing> {
        let column = position.checked_sub(1).and_then(|column| u32::try_from(column).ok());
        let column = column.ok_or(Missing::NotPositive(position))?;
        match self.width() {
            Some(width) if column as usize >= width => Err(Missing::Beyond { position, width }),
            Some(_) | None => Ok(column),
        }
    }

    fn name(&self, name: &str) -> Result<u32, Missing> {
        let found = self.fields.iter().enumerate().filter(|(_, field)| field.as_deref() == Some(name));
        let found: Vec<usize> = found.map(|(index, _)| index).collect();
        match (found.as_slice(), self.rest) {
            ([column], _) => Ok(u32::try_from(*column).unwrap_or(u32::MAX)),
            ([_, _, ..], _) => Err(Missing::Ambiguous(name.to_owned())),
            ([], Rest::Broken) => Err(Missing::Broken),
            ([], Rest::NoRows) => Ok(0),
            ([], Rest::Unread) => Err(Missing::Unread(name.to_owned())),
            ([], Rest::Nothing | Rest::Unnamed) => self.digits(name).unwrap_or_else(|| Err(self.unnamed_or_unknown(name))),
        }
    }

    /// A position written as text, as keys of mappings and replaced parameters are.
    fn digits(&self, name: &str) -> Option<Result<u32, Missing>> {
        let position = name.parse().ok().filter(|_| name.bytes().all(|byte| byte.is_ascii_digit()))?;
        Some(self.position(position))
    }

    fn unnamed_or_unknown(&self, name: &str) -> Missing {
        let known: Vec<String> = self.fields.iter().flatten().cloned().collect();
        if known.is_empty() { Missing::Unnamed(name.to_owned()) } else { Missing::NoSuchName { name: name.to_owned(), known } }
    }

    /// The fields in these columns, in this order; a field that is taken twice keeps its name once.
    pub(crate) fn select(&self, columns: &[u32]) -> Self {
        let mut fields: Vec<Option<String>> = Vec::new();
        for column in columns {
            let name = self.fields.get(*column as usize).cloned().flatten();
            fields.push(name.filter(|name| !fields.iter().flatten().any(|taken| taken == name)));
        }
        Self { fields, rest: Rest::Nothing }
    }

    /// The fields that were asked for and found in these columns; where nobody has looked up the names, those asked for.
    pub(crate) fn chosen(&self, asked: &[FieldRef], columns: &[u32]) -> Self {
        match self.rest {
            Rest::Nothing | Rest::Unnamed => return self.select(columns),
            Rest::Broken => return Self::with_rest(Rest::Broken),
            Rest::Unread | Rest::NoRows => {}
        }
        let name = |(field, column): (&FieldRef, &u32)| match field {
            FieldRef::Name(name) => Some(name.clone()),
            FieldRef::Position(_) => self.fields.get(*column as usize).cloned().flatten(),
        };
        let names: Vec<Option<String>> = asked.iter().zip(columns).map(name).collect();
        // A position may have a name that nobody has looked up.
        if names.contains(&None) { Self::with_rest(self.rest) } else { Self { fields: names, rest: Rest::Nothing } }
    }

    /// The same fields, then others: `rest`, unless there is more to say already.
    pub(crate) fn and(self, rest: Rest) -> Self {
        if self.rest == Rest::Nothing { Self { rest, ..self } } else { self }
    }

    /// One more field without a name at the end.
    pub(crate) fn and_one(mut self) -> Self {
        match self.rest {
            Rest::Nothing => self.fields.push(None),
            Rest::Unnamed | Rest::Unread | Rest::NoRows | Rest::Broken => {}
        }
        self
    }

    /// The fields that are not in these columns.
    pub(crate) fn without(&self, columns: &[u32]) -> Self {
        let others = self.fields.iter().enumerate().filter(|(index, _)| !columns.iter().any(|column| *column as usize == *index));
        Self { fields: others.map(|(_, name)| name.clone()).collect(), rest: self.rest }
    }

    /// The rows of all inputs: fields that all of them name alike, else only as wide as all are.
    pub(crate) fn union(inputs: &[Self]) -> Self {
        if inputs.iter().any(|names| names.rest == Rest::Broken) {
            return Self::with_rest(Rest::Broken);
        }
        let mut seen = inputs.iter().filter(|names| names.rest != Rest::NoRows);
        let Some(first) = seen.next() else { return Self::with_rest(Rest::NoRows) };
        let others: Vec<&Self> = seen.collect();
        if others.iter().all(|names| *names == first) {
            return first.clone();
        }
        if first.rest == Rest::Unread || others.iter().any(|names| names.rest == Rest::Unread) {
            return Self::with_rest(Rest::Unread);
        }
        match first.width() {
            Some(width) if others.iter().all(|names| names.width() == Some(width)) => Self::unnamed(width),
            Some(_) | None => Self::unknown(),
        }
    }

    /// The rows of a join: the key fields, then the values of each leg, named where their names stay unique.
    pub(crate) fn join(keys: &Self, values: &[Self]) -> Self {
        let mut joined = keys.clone();
        for leg in values {
            if joined.rest != Rest::Nothing {
                break;
            }
            joined.fields.extend(leg.fields.iter().cloned());
            joined.rest = match leg.rest {
                // Rows of the other legs may come through.
                Rest::NoRows => Rest::Unread,
                rest @ (Rest::Nothing | Rest::Unnamed | Rest::Unread | Rest::Broken) => rest,
            };
        }
        let all = joined.fields.clone();
        for (index, field) in joined.fields.iter_mut().enumerate().skip(keys.fields.len()) {
            let twice = all.iter().enumerate().any(|(other, name)| other != index && name.is_some() && name == field);
            if twice {
                *field = None;
            }
        }
        joined
    }
}

/// A collection as users know it: the step, `step.output`, or rows that a step set aside; in quotes.
pub(crate) fn called(label: &str) -> String {
    match label.strip_suffix(".onError") {
        Some(step) => format!("{step:?} that were set aside"),
        None => format!("{label:?}"),
    }
}

impl Missing {
    /// Message and help, about rows of the collection `of`; `None` where it is only a consequence.
    pub(crate) fn describe(&self, of: &str) -> Option<(String, Option<String>)> {
        let step = of.split('.').next().unwrap_or(of);
        let of = called(of);
        Some(match self {
            Self::NotPositive(position) => (format!("there is no field {position}"), Some("positions count from 1".to_owned())),
            Self::Beyond { position, width } => {
                let fields = plan::fields(*width);
                (format!("there is no field {position}: rows of {of} have {fields}"), None)
            }
            Self::NoSuchName { name, known } => {
                let help = did_you_mean(name, known.iter().map(String::as_str));
                let help = help.unwrap_or_else(|| format!("named are {}", known.join(", ")));
                (format!("rows of {of} have no field named {name:?}"), Some(help))
            }
            Self::Ambiguous(name) => {
                let help = "use a position, or name them apart with \"fields\"";
                (format!("several fields of {of} are named {name:?}"), Some(help.to_owned()))
            }
            Self::Unnamed(name) => {
                let help = format!("give \"fields\" to step {step:?}, or use a position");
                (format!("rows of {of} have no named fields, so there is no {name:?}"), Some(help))
            }
            Self::Unread(name) => {
                let help = format!("give \"fields\" to step {step:?}, or use a position");
                (format!("whether rows of {of} have a field {name:?} is not known: its files were not looked at"), Some(help))
            }
            Self::Broken => return None,
        })
    }
}
