//! Tables that belong together: orders, their lines, customers; joined twice, grouped and sorted, beside an independent
//! computation. `GLEAMFLOW_E2E_ORDERS=3000000` makes it large; so does `GLEAMFLOW_E2E_TEXT_MIB=2048` the word count in `big`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use serde_json::{Value, json};

use crate::ClusterTest;
use crate::gate::Gate;
use crate::product::{self, Shared, await_complete_within, await_executors, text};

const CLAIM: &str = "tables";
const NATIONS: u64 = 25;
/// So many files of each table: read by several tasks.
const FILES: u64 = 6;
const ORDERS: u64 = 60_000;

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![("flows::a_join_of_three_tables_is_exact_on_all_nodes", a_join_of_three_tables)]
}

/// A number that the environment may set.
pub(crate) fn size(name: &str, otherwise: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is {text:?}")),
        Err(_) => Ok(otherwise),
    }
}

fn a_join_of_three_tables(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-tables")?;
    let shared = Shared::new(cluster, namespace.name(), CLAIM)?;
    let orders = size("GLEAMFLOW_E2E_ORDERS", ORDERS)?;
    let (wanted, bytes) = generate(shared.path(), orders)?;
    // It is not over before its executors are seen.
    let gate = Gate::new(shared.path(), "revenue", 0)?;
    cluster.apply(namespace.name(), &revenue(&gate))?;
    let pods = await_executors(cluster, namespace.name(), "revenue", 3)?;
    let nodes: BTreeSet<String> = pods.iter().map(|pod| text(&pod["spec"]["nodeName"])).collect();
    let start = Instant::now();
    gate.open()?;
    let patience = product::PATIENCE * u32::try_from((orders / ORDERS / 10).max(1))?;
    let status = await_complete_within(cluster, namespace.name(), "revenue", patience)?;
    let seconds = start.elapsed().as_secs_f64();
    eprintln!(
        "figure: join of {orders} orders, {} MiB, on {nodes:?} in {seconds:.1} s; shuffled {}",
        bytes >> 20,
        status["bytesShuffled"]
    );
    ensure!(nodes.len() == cluster.nodes().len(), "executors were on {nodes:?}");
    ensure!(status["bytesShuffled"].as_i64() > Some(0), "nothing was shuffled: {status:#}");
    let found = written(&shared.path().join("out"))?;
    ensure!(found == wanted, "{} rows, {} expected; the first: {:?}", found.len(), wanted.len(), found.first());
    Ok(())
}

/// Revenue per nation and month of orders that are not small, the largest first. All numbers are whole: sums are exact.
fn revenue(gate: &Gate) -> Value {
    let csv = |name: &str| json!({"csv": {"paths": [format!("{name}/*.csv")], "header": true}});
    let steps = json!([
        {"name": "customers", "read": csv("customer")},
        {"name": "orders", "read": csv("orders")},
        {"name": "lines", "read": csv("lineitem")},
        {"name": "large", "from": ["orders"], "filter": {"lua": "function(order, customer, month, total) return tonumber(total) >= 1000 end"}},
        {"name": "ordered", "from": ["large", "customers"], "join": {"key": ["customer"], "broadcast": "never"},
         "fields": ["customer", "order", "month", "total", "nation"]},
        {"name": "sold", "from": ["ordered", "lines"], "join": {"key": ["order"], "broadcast": "never"},
         "fields": ["order", "customer", "month", "total", "nation", "price", "discount"]},
        {"name": "amounts", "map": {"lua": "function(order, customer, month, total, nation, price, discount) return nation, month, price * (100 - discount) end"}},
        {"name": "sums", "reduceBy": {"key": [1, 2], "lua": "function(a, b) return a + b end"}},
        {"name": "sorted", "sort": {"by": [{"field": 3, "order": "desc"}, {"field": 1}, {"field": 2}]}},
        {"name": "out", "write": {"tsv": {"path": "out"}}},
        {"name": "one", "read": {"range": {"to": 1}}},
        gate.step("gate"),
        {"name": "held", "write": {"text": {"path": "held"}}}
    ]);
    product::flow("revenue", steps, json!({"storage": Shared::storage(CLAIM), "executors": {"minReplicas": 3, "maxReplicas": 3}}))
}

/// Writes the tables; the rows that must come out, in order, and how much was written.
fn generate(folder: &Path, orders: u64) -> Result<(Vec<String>, u64)> {
    let customers = orders / 10;
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = move |below: u64| {
        // Xorshift: the same tables in every run of the test.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut tables = Tables::new(folder)?;
    let nations: Vec<u64> = (0..customers).map(|_| next(NATIONS)).collect();
    for (customer, nation) in nations.iter().enumerate() {
        tables.write("customer", customer as u64, &format!("{customer},nation{nation}"))?;
    }
    let mut sums: BTreeMap<(String, String), u64> = BTreeMap::new();
    for order in 0..orders {
        let (customer, month, total) = (next(customers), 1 + next(12), next(10_000));
        tables.write("orders", order, &format!("{order},{customer},m{month},{total}"))?;
        for line in 0..1 + next(7) {
            let (price, discount) = (1 + next(100_000), next(11));
            tables.write("lineitem", order + line, &format!("{order},{price},{discount}"))?;
            if total >= 1000 {
                let nation = format!("nation{}", nations[customer as usize]);
                *sums.entry((nation, format!("m{month}"))).or_default() += price * (100 - discount);
            }
        }
    }
    let bytes = tables.finish()?;
    product::open_to_all(folder)?;
    let mut sums: Vec<((String, String), u64)> = sums.into_iter().collect();
    sums.sort_by(|(key, sum), (other_key, other)| other.cmp(sum).then_with(|| key.cmp(other_key)));
    Ok((sums.into_iter().map(|((nation, month), sum)| format!("{nation}\t{month}\t{sum}")).collect(), bytes))
}

/// Files being written, each with its header.
struct Tables {
    files: BTreeMap<(&'static str, u64), BufWriter<File>>,
    bytes: u64,
}

impl Tables {
    fn new(folder: &Path) -> Result<Tables> {
        let headers =
            [("customer", "customer,nation"), ("orders", "order,customer,month,total"), ("lineitem", "order,price,discount")];
        let mut files = BTreeMap::new();
        for (table, header) in headers {
            fs::create_dir(folder.join(table)).context("failed to make a folder")?;
            for number in 0..FILES {
                let file = File::create(folder.join(format!("{table}/{number}.csv"))).context("failed to make a table")?;
                let mut file = BufWriter::new(file);
                writeln!(file, "{header}").context("failed to write a table")?;
                files.insert((table, number), file);
            }
        }
        Ok(Tables { files, bytes: 0 })
    }

    fn write(&mut self, table: &'static str, number: u64, row: &str) -> Result<()> {
        self.bytes += row.len() as u64 + 1;
        let file = self.files.get_mut(&(table, number % FILES)).context("there is no such table")?;
        writeln!(file, "{row}").context("failed to write a table")
    }

    fn finish(self) -> Result<u64> {
        for mut file in self.files.into_values() {
            file.flush().context("failed to write a table")?;
        }
        Ok(self.bytes)
    }
}

/// The rows of a sorted sink, in the order of its files.
fn written(folder: &Path) -> Result<Vec<String>> {
    let mut paths: Vec<_> =
        fs::read_dir(folder).context("failed to list the results")?.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with(['.', '_'])));
    paths.sort();
    let mut rows = Vec::new();
    for path in paths {
        rows.extend(fs::read_to_string(path).context("failed to read a result")?.lines().map(str::to_owned));
    }
    Ok(rows)
}
