//! An output against a wire that breaks when it is told to.

use super::*;
use plan::task::{Piece, PieceName, TaskId};

/// What arrived whole: frames and trailer of each finished output; and how many of the next sends fail.
#[derive(Debug, Default)]
struct Far {
    stored: Vec<(Vec<(u32, Bytes)>, Bytes)>,
    fail_next: u32,
    /// Frames that the agent says it holds fewer than it got.
    short: u32,
    tries: u32,
    passing: bool,
}

#[derive(Clone, Debug, Default)]
struct Fake(Arc<Mutex<Far>>);

#[derive(Debug)]
struct Sending(Fake, Vec<(u32, Bytes)>);

impl Fake {
    fn far(&self) -> MutexGuard<'_, Far> {
        self.0.lock().unwrap()
    }

    fn may_fail(&self) -> Result<(), Trouble> {
        let mut far = self.far();
        far.tries += 1;
        if far.fail_next == 0 {
            return Ok(());
        }
        far.fail_next -= 1;
        Err(Trouble { fault: Fault::Infrastructure, passing: far.passing, source: "the line is cut".into() })
    }
}

impl Wire for Fake {
    fn put(&self, _: &str, _: Attempt) -> Result<Box<dyn Output>, Trouble> {
        Ok(Box::new(Sending(self.clone(), Vec::new())))
    }

    fn fetch(&self, pieces: &[Held], _: &[String]) -> Result<Arriving, Trouble> {
        let far = self.far();
        let (frames, _) = far.stored.last().unwrap();
        let wanted: Vec<u32> = pieces.iter().map(|held| held.piece).collect();
        let frames: Vec<_> =
            frames.iter().filter(|(piece, _)| wanted.contains(piece)).map(|(_, frame)| Ok(frame.clone())).collect();
        let lost = Trouble { fault: Fault::Lost(vec![attempt(9)]), passing: false, source: "gone".into() };
        Ok(Box::new(frames.into_iter().chain([Err(lost)])))
    }

    fn stop(&self) {}
}

impl Output for Sending {
    fn send(&mut self, piece: u32, frame: Bytes) -> Result<(), Trouble> {
        self.0.may_fail()?;
        self.1.push((piece, frame));
        Ok(())
    }

    fn finish(self: Box<Self>, done: Bytes) -> Result<Stored, Trouble> {
        self.0.may_fail()?;
        let mut frames = Vec::new();
        for (piece, _) in &self.1 {
            frames.resize(frames.len().max(*piece as usize + 1), 0);
            frames[*piece as usize] += 1;
        }
        let mut far = self.0.far();
        if let Some(first) = frames.first_mut() {
            *first -= far.short;
        }
        far.stored.push((self.1, done));
        Ok(Stored { frames, bytes: 0 })
    }
}

fn attempt(number: u32) -> Attempt {
    Attempt { task: TaskId::Stage, number }
}

fn outlet(passing: bool) -> (Fake, Outlet) {
    let fake = Fake::default();
    fake.far().passing = passing;
    let outlet = Outlet::new(Arc::new(fake.clone()), attempt(1), "a:1".to_owned());
    (fake, outlet)
}

fn batch(byte: u8, length: usize) -> Batch {
    // Bytes that LZ4 cannot make smaller.
    let mut state = u64::from(byte) + 1;
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 56) as u8
    };
    Batch { rows: 1, bytes: (0..length).map(|_| next()).collect() }
}

fn pieces(count: usize) -> Done {
    let piece = Piece { name: PieceName::Write { node: plan::NodeId(0), number: 0 }, rows: 1, bytes: 1, frames: 0 };
    Done { pieces: vec![piece; count], ..Done::default() }
}

#[test]
fn pieces_arrive_with_their_trailer_and_are_counted() {
    let (fake, outlet) = outlet(true);
    for (piece, byte) in [(0, 1), (2, 2), (0, 3)] {
        outlet.put(piece, batch(byte, 100)).unwrap();
    }
    let mut done = pieces(4);
    outlet.count(&mut done).unwrap();
    assert_eq!(done.pieces.iter().map(|piece| piece.frames).collect::<Vec<_>>(), [2, 0, 1, 0]);
    outlet.finish("done".into()).unwrap();
    let held = Held { agent: 0, attempt: attempt(1), piece: 2, first: 0, end: 1 };
    let mut frames = outlet.fetch(&[held], &["a:1".to_owned()]).unwrap();
    assert_eq!(frames.next().unwrap().unwrap().bytes, batch(2, 100).bytes);
    let Some(Err(Error::Exchange { lost, .. })) = frames.next() else { panic!("the end is lost") };
    assert_eq!(lost, [attempt(9)]);
    assert_eq!(fake.far().stored[0].1, "done");
}

#[test]
fn a_task_without_pieces_leaves_its_trailer() {
    let (fake, outlet) = outlet(true);
    outlet.finish("done".into()).unwrap();
    assert_eq!(fake.far().stored, [(vec![], Bytes::from("done"))]);
}

#[test]
fn a_task_without_an_agent_leaves_nothing() {
    let (fake, _) = outlet(true);
    let outlet = Outlet::new(Arc::new(fake.clone()), attempt(1), String::new());
    outlet.finish("done".into()).unwrap();
    assert!(fake.far().stored.is_empty());
}

#[test]
fn a_small_output_is_sent_again_over_a_new_connection() {
    let (fake, outlet) = outlet(true);
    outlet.put(0, batch(1, 100)).unwrap();
    fake.far().fail_next = 1;
    outlet.put(1, batch(2, 100)).unwrap();
    fake.far().fail_next = 1;
    outlet.finish("done".into()).unwrap();
    let far = fake.far();
    assert_eq!(far.stored.len(), 1);
    assert_eq!(far.stored[0].0.iter().map(|(piece, _)| *piece).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_large_output_is_not_kept_and_fails_for_another_slot_to_try() {
    let (fake, outlet) = outlet(true);
    outlet.put(0, batch(1, KEPT_BYTES)).unwrap();
    outlet.put(0, batch(2, KEPT_BYTES)).unwrap();
    fake.far().fail_next = 1;
    let failed = outlet.finish("done".into()).unwrap_err();
    assert_eq!(failed.fault, Fault::Infrastructure);
    assert!(failed.message.contains("at agent a:1") && failed.message.ends_with("the line is cut"), "{}", failed.message);
}

#[test]
fn a_refusal_is_not_tried_again() {
    let (fake, outlet) = outlet(false);
    fake.far().fail_next = 1;
    assert!(matches!(outlet.put(0, batch(1, 10)), Err(Error::Exchange { lost, .. }) if lost.is_empty()));
    assert_eq!(fake.far().tries, 1);
}

#[test]
fn a_wrong_count_is_never_reported_as_done() {
    let (fake, outlet) = outlet(true);
    outlet.put(0, batch(1, 10)).unwrap();
    assert!(outlet.count(&mut pieces(0)).unwrap_err().message.contains("1 pieces were put, 0 are told of"));
    let mut done = pieces(1);
    done.pieces[0].frames = 5;
    assert!(outlet.count(&mut done).unwrap_err().message.contains("piece 0 has 1 frames, not 5"));
    fake.far().short = 1;
    assert!(outlet.finish("done".into()).unwrap_err().message.contains("another number of frames of piece 0"));
}
