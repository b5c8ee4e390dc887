//! Processor time and memory: what nodes have, and what pods ask for.

use serde_json::Value;

/// An amount of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Thousandths of a processor.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
}

impl Room {
    /// Reads `{cpu, memory}` as Kubernetes writes them; what is absent or no amount counts as nothing.
    #[must_use]
    pub fn read(resources: &Value) -> Room {
        let cpu = resources.get("cpu").map_or(0, processors);
        let memory = resources.get("memory").and_then(|memory| serde_json::from_value::<crds::Quantity>(memory.clone()).ok());
        Room { cpu, memory: memory.and_then(|memory| memory.bytes().ok()).unwrap_or(0) }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Room) -> Room {
        Room { cpu: self.cpu + other.cpu, memory: self.memory + other.memory }
    }

    /// What is left, at least nothing.
    #[must_use]
    pub fn minus(self, other: Room) -> Room {
        Room { cpu: self.cpu.saturating_sub(other.cpu), memory: self.memory.saturating_sub(other.memory) }
    }

    /// How many of `each` it holds.
    #[must_use]
    pub fn holds(self, each: Room) -> u32 {
        let times = |has: u64, needs: u64| has.checked_div(needs).unwrap_or(u64::MAX);
        u32::try_from(times(self.cpu, each.cpu).min(times(self.memory, each.memory))).unwrap_or(u32::MAX)
    }
}

/// Thousandths of a processor: `500m`, `2`, `0.5`.
fn processors(amount: &Value) -> u64 {
    let text = match amount {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if let Some(milli) = text.strip_suffix('m') {
        return milli.parse().unwrap_or(0);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let milli: String = fraction.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u64>().unwrap_or(0) * 1000 + milli.parse::<u64>().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_kubernetes_writes_them() {
        let room = |cpu: Value, memory: &str| Room::read(&serde_json::json!({"cpu": cpu, "memory": memory}));
        assert_eq!(room("1500m".into(), "1Gi"), Room { cpu: 1500, memory: 1 << 30 });
        assert_eq!(room(2.into(), "17"), Room { cpu: 2000, memory: 17 });
        assert_eq!(room("0.25".into(), "1Ki"), Room { cpu: 250, memory: 1024 });
    }

    #[test]
    fn what_asks_for_nothing_fits_always() {
        assert_eq!(Room::default().holds(Room::default()), u32::MAX);
        assert_eq!(Room { cpu: 1000, memory: 100 }.holds(Room { cpu: 300, memory: 50 }), 2);
    }
}
