//! The 24 rewrites of the FlumeJava notes: what shows that each applies, and that it does not where it must not.

use planner::Options;

use crate::form::{planned, told};

enum Shown {
    /// A flow where the rewrite applies, and one where it must not: pass, then (flow, step, words of the reason) twice.
    Goldens(&'static str, [(&'static str, &'static str, &'static str); 2]),
    /// Not a pass of the planner: where it is done and shown.
    Elsewhere(&'static str),
    /// Not done, and why.
    Left(&'static str),
}

const TABLE: [(u32, Shown); 24] = {
    use Shown::{Elsewhere, Goldens, Left};
    [
        (
            1,
            Goldens(
                "merge-flattens",
                [
                    ("a=read; b=read; u=fl U a b; v=fl V u a; x=pd X v; write W x", "U", "read by the union `V`"),
                    ("a=read; u=flo U a; x=pd X u; write W x", "U", "gives that an order"),
                ],
            ),
        ),
        (
            2,
            Goldens(
                "sink-flattens",
                [
                    ("a=read; b=read; u=fl U a b; x=pd X u; write W x", "X", "each of the 2 inputs"),
                    ("a=read; b=read; u=fl U a b; p=pipe P u !nd; write W p", "P", "sees whole partitions"),
                ],
            ),
        ),
        (
            3,
            Goldens(
                "dead-code",
                [
                    ("r=read; x=pd X r; write W r", "X", "nobody reads"),
                    ("r=read; x=pd X r !nd; write W r", "X", "run for its effects"),
                ],
            ),
        ),
        (
            4,
            Goldens(
                "common-subexpressions",
                [
                    ("r=read; x=pd X r as:f; y=pd Y r as:f; write V x; write W y", "Y", "the same rows as `X`"),
                    ("r=read; x=pd X r as:f !nd; y=pd Y r as:f !nd; write V x; write W y", "Y", "not deterministic"),
                ],
            ),
        ),
        (
            5,
            Goldens(
                "lift-combine",
                [
                    ("r=read; g=gbk G r; c=cv C g; write W c", "C", "sole consumer"),
                    ("r=read; g=gbk G r; c=cv C g; x=pd X g; write W c; write V x", "C", "a second consumer, `X`"),
                ],
            ),
        ),
        (
            6,
            Goldens(
                "pack-combines",
                [
                    ("r=read; g=gbk G r; c=cv C g; d=cv D g; write W c; write V d", "C", "2 combines"),
                    (
                        "r=read; g=gbk G r; c=cv C g; d=cv D g; x=pd X g; write W c; write V d; write U x",
                        "C",
                        "reads the whole groups",
                    ),
                ],
            ),
        ),
        (
            7,
            Goldens(
                "fusion-blocks",
                [
                    ("r=read; g=gbk G r; x=pd X g; h=gbk H x; write W h", "X", "a stage ends here"),
                    ("r=read; g=gbk G r; x=pd X g !persist; h=gbk H x; write W h", "X", "a stage ends here anyway"),
                ],
            ),
        ),
        (
            8,
            Goldens(
                "producer-consumer-fusion",
                [
                    ("r=read; x=pd X r; y=pd Y x; write W y", "Y", "the same pass as `X`"),
                    ("r=read; (a,x)=pd A r; b=pd B a | x; write W b", "B", "side inputs is made from"),
                ],
            ),
        ),
        (
            9,
            Goldens(
                "sibling-fusion",
                [
                    ("r=read; x=pd X r; y=pd Y r; write V x; write W y", "Y", "in the same pass as `X`"),
                    ("r=read; a=pd A r; b=pd B r | a; write W b", "B", "not fused with its sibling"),
                ],
            ),
        ),
        (
            10,
            Goldens(
                "mscr-fusion",
                [
                    ("r=read; g=gbk G r key:0; h=gbk H r key:1; write V g; write W h", "H", "shares a shuffle"),
                    ("r=read; m=pd M r; g=gbk G m; c=cv C g; j=cogroup J m c; write W j", "J", "more shuffles lie before it"),
                ],
            ),
        ),
        (
            11,
            Goldens(
                "redundant-groups",
                [
                    (
                        "r=read; c=reduceby C r key:0; f=fi F c; h=hash H f key:0; p=pipe P h; write W p",
                        "H",
                        "no two rows have the same key",
                    ),
                    ("r=read; c=reduceby C r key:0; h=hash H c key:0 parts:3; p=pipe P h; write W p", "H", "its own partitions"),
                ],
            ),
        ),
        (
            12,
            Goldens(
                "redundant-groups",
                [
                    ("r=read; c=reduceby C r key:0; d=reduceby D c key:0; write W d", "D", "one row already"),
                    ("r=read; c=reduceby C r key:0; x=fm X c; d=reduceby D x key:0; write W d", "D", "may change the key"),
                ],
            ),
        ),
        (
            13,
            Goldens(
                "joined-groups",
                [
                    ("a=read; b=read; c=read; i=join I a b; j=join J i c; write W j", "J", "same key, one shuffle"),
                    ("a=read; b=read; c=read; i=join I a b kind:left; j=join J i c; write W j", "J", "filled in before"),
                ],
            ),
        ),
        (
            14,
            Goldens(
                "filter-pushdown",
                [
                    ("r=read; s=reduceby S r key:0; f=fi F s as:reads:0; write W f", "F", "moved before `S`"),
                    ("r=read; s=reduceby S r key:0; f=fi F s as:reads:1; write W f", "F", "fields that are made there"),
                ],
            ),
        ),
        (
            15,
            Goldens(
                "column-pushdown",
                [
                    ("r=read format:csv fields:a,b,c; s=select S r cols:1; write W s", "r", "1 of 3 columns"),
                    ("r=read format:csv fields:a,b,c; s=select S r cols:1; write W s; write V r", "r", "takes whole rows"),
                ],
            ),
        ),
        (
            16,
            Goldens(
                "broadcast-join",
                [
                    ("a=read @99000000; b=read @9; j=join J a b; write W j", "J", "without a shuffle"),
                    ("a=read; b=read; j=join J a b; write W j", "J", "is not known"),
                ],
            ),
        ),
        (17, Goldens("local-choice", [("r=read @9; write W r", "W", "one process"), ("r=read; write W r", "W", "unknown size")])),
        (
            18,
            Elsewhere(
                "plan::schedule::share, when the buckets of a shuffle are there and measured; `partitions` is in the plan as given",
            ),
        ),
        (
            19,
            Left(
                "a hot key costs one row per task and key behind a lifted combine; a group without one would need a second shuffle",
            ),
        ),
        (20, Left("left to the user, as a roundRobin step: fan-out is not known before the run")),
        (21, Elsewhere("traps::h: a write of a boundary collection runs where that is made; sinks are not read back")),
        (22, Elsewhere("persist with --cache, by fingerprint")),
        (
            23,
            Goldens(
                "map-only-merging",
                [
                    ("a=read; b=read; u=fl U a b; write W u", "W", "one stage"),
                    (
                        "a=read; b=read; s=sort S b; x=pd X s; t=op T | x; u=fl U a t; write W u",
                        "W",
                        "more shuffles lie before one",
                    ),
                ],
            ),
        ),
        (24, Elsewhere("renderers::intermediates_are_freed_behind_their_last_reader; the engine deletes by that list")),
    ]
};

#[test]
fn each_rewrite_applies_where_it_may_and_nowhere_else() {
    for (place, (number, shown)) in (1..).zip(TABLE) {
        assert_eq!(number, place, "one row per rewrite");
        match shown {
            Shown::Goldens(pass, goldens) => {
                for ((text, step, words), did) in goldens.into_iter().zip([true, false]) {
                    println!("R{number} {pass} {did}: {text}");
                    told(&planned(text, &Options::default()), pass, step, did, words);
                }
            }
            Shown::Elsewhere(place) | Shown::Left(place) => println!("R{number}: {place}"),
        }
    }
}
