//! How each function of a plan will run, and why, in words for somebody who has never heard of tiers.

use plan::{Do, Fold, Function, FunctionTier, Op, Plan, Tier};

/// The tier of each step with a function, in the order of the flow; copies of a step are one.
pub(crate) fn of(plan: &Plan) -> Vec<FunctionTier> {
    let mut tiers: Vec<FunctionTier> = Vec::new();
    for node in plan.graph.nodes.values() {
        if let Some((function, role)) = function_of(&node.op)
            && tiers.iter().all(|tier| tier.step != node.step)
        {
            let (tier, reason) = explained(&lua::tier(&function.source, role, &plan.prelude), role);
            tiers.push(FunctionTier { step: node.step.clone(), tier, reason });
        }
    }
    tiers
}

fn function_of(op: &Op) -> Option<(&Function, lua::Role)> {
    match op {
        Op::ParallelDo(Do::Map(function)) => Some((function, lua::Role::Map)),
        Op::ParallelDo(Do::FlatMap(function)) => Some((function, lua::Role::FlatMap)),
        Op::ParallelDo(Do::Filter(function)) => Some((function, lua::Role::Filter)),
        Op::ParallelDo(Do::ForEach(function)) => Some((function, lua::Role::ForEach)),
        Op::ParallelDo(Do::Split { function, .. }) => Some((function, lua::Role::Split)),
        Op::Combine(Fold::Lua(function)) => Some((function, lua::Role::Fold)),
        Op::Operate(function) => Some((function, lua::Role::Operate)),
        Op::Read(_) | Op::ParallelDo(_) | Op::Flatten { .. } | Op::Group(_) | Op::Combine(_) => None,
    }
}

fn explained(tier: &lua::Tier, role: lua::Role) -> (Tier, String) {
    match (tier, role) {
        (lua::Tier::Native, _) => (Tier::Native, "compiled without Lua: all that it does is known".to_owned()),
        (lua::Tier::PerRow { .. }, lua::Role::Operate) => (Tier::PerRow, "in LuaJIT, once".to_owned()),
        (lua::Tier::PerRow { why }, _) => (Tier::PerRow, format!("in LuaJIT for each pair of rows, because {}", clause(why))),
        (lua::Tier::Batched { why }, _) => (Tier::Batched, format!("in LuaJIT for many rows at a time, because {}", clause(why))),
    }
}

/// `it calls string.rep` needs to be told why that matters.
fn clause(why: &str) -> String {
    if why.starts_with("it ") { format!("{why}, which is not lifted out of Lua") } else { why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_sentences() {
        let told = |source: &str, role| {
            let (tier, reason) = explained(&lua::tier(source, role, ""), role);
            format!("{tier}: {reason}")
        };
        let cases = [
            ("function(x) return x, 1 end", lua::Role::Map, "native: compiled without Lua: all that it does is known"),
            (
                "function(x) return os.date(x) end",
                lua::Role::Map,
                "batched: in LuaJIT for many rows at a time, because it calls os.date, which is not lifted out of Lua",
            ),
            (
                "function(x, y) return math.max(x, y) .. os.date(x) end",
                lua::Role::Fold,
                "per row: in LuaJIT for each pair of rows, because it calls os.date, which is not lifted out of Lua",
            ),
            ("function() emit(1) end", lua::Role::Operate, "per row: in LuaJIT, once"),
        ];
        for (source, role, expected) in cases {
            assert_eq!(told(source, role), expected, "{source}");
        }
    }
}
