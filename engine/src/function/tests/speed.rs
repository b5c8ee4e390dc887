//! How fast the tiers are, to be run by hand: `cargo test --release -p engine speed -- --ignored --nocapture`.

use super::*;

/// Seconds that this thread has run, whatever else the machine does.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// Counts rows and lets them go.
struct Count(Rc<RefCell<u64>>);

impl RowSink for Count {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        std::hint::black_box(row);
        *self.0.borrow_mut() += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

fn measure(name: &str, op: Do, force: Force, rows: usize, row: &[Val<'_>]) {
    if std::env::var("ONLY").is_ok_and(|only| format!("{name} {force:?}") != only) {
        return;
    }
    let out = Rc::new(RefCell::new(0));
    let begun = cpu_seconds();
    let step = node(Op::ParallelDo(op), OnError::Fail);
    let mut sink = stage_as(&step, &context(""), &[], vec![Box::new(Count(Rc::clone(&out)))], force.tiers()).unwrap();
    for _ in 0..rows {
        sink.push(row).unwrap();
    }
    sink.finish().unwrap();
    let seconds = cpu_seconds() - begun;
    let bytes: usize = row.iter().map(|value| if let Val::Str(text) = value { text.len() } else { 8 }).sum();
    eprintln!(
        "{name:28} {force:8?} {:8.2} M rows/s in {:8.2} M rows/s out {:8.0} MB/s",
        rows as f64 / seconds / 1e6,
        *out.borrow() as f64 / seconds / 1e6,
        (rows * bytes) as f64 / seconds / 1e6
    );
}

#[test]
#[ignore = "a measurement"]
fn of_the_tiers() {
    let line = [Val::Str(b"It was the best of times, it was the worst of times, it was the age of wisdom, it was the age")];
    let word = [Val::Str(b"wisdom")];
    let wide = [Val::Int(12345), Val::Str(b"customer 99"), Val::Float(99.5), Val::Str(b"2024-01-01")];
    let words = || Do::FlatMap(function("function(line) return line:gmatch('%w+') end"));
    let pairs = || Do::Map(function("function(word) return word, 1 end"));
    let total = || Do::Map(function("function(id, name, price) return name:upper(), price * 1.2 + id end"));
    let cheap = || Do::Filter(function("function(id, name, price) return price < 100 and id > 5 end"));
    let lower = || Do::Map(function("function(w) return w:lower() end"));
    for force in [Force::Native, Force::Batched] {
        measure("flatMap gmatch %w+", words(), force, 300_000, &line);
        measure("map word, 1", pairs(), force, 5_000_000, &word);
        measure("map upper, arithmetic", total(), force, 2_000_000, &wide);
        measure("map lower", lower(), force, 2_000_000, &word);
        measure("filter", cheap(), force, 3_000_000, &wide);
    }
    measure("map word, 1", pairs(), Force::PerRow, 500_000, &word);
    let begun = cpu_seconds();
    for _ in 0..100 {
        measure_start();
    }
    eprintln!("a VM in {:.0} us", (cpu_seconds() - begun) * 1e4);
}

fn measure_start() {
    let step = node(Op::ParallelDo(Do::Map(function("function(x) return x end"))), OnError::Fail);
    let rows = Rows::default();
    stage_as(&step, &context(""), &[], vec![Box::new(rows)], Force::Batched.tiers()).unwrap().finish().unwrap();
}
