//! What each group of decisions is about, for a reader who does not know the passes.

const ABOUT: [(&str, &str); 20] = [
    ("reuse", "what is persisted is kept in the cache, and read from there where nothing that it is made of has changed"),
    ("merge-flattens", "a union of unions is one union"),
    ("dead-code", "what nobody sees is not run"),
    ("common-subexpressions", "the same work on the same rows is done once"),
    ("filter-pushdown", "filters go before shuffles where they can, so that fewer rows travel"),
    ("column-pushdown", "sources read only the columns that are used"),
    ("broadcast-join", "a join needs no shuffle where every task can hold the small sides whole"),
    ("redundant-groups", "rows that are together already are not shuffled again"),
    ("joined-groups", "joins on the same key share one shuffle"),
    ("sink-flattens", "steps behind a union are copied to each of its inputs, to run where these are made"),
    ("lift-combine", "a fold also runs before the shuffle, on what each task has, so that less travels"),
    ("pack-combines", "several folds of one group run before the shuffle together"),
    ("fusion-blocks", "where one stage ends and the next begins: at the smallest result between two shuffles"),
    ("producer-consumer-fusion", "steps that follow one another run in one pass, row by row"),
    ("sibling-fusion", "steps that read the same rows run in one pass over them"),
    ("mscr-fusion", "shuffles of the same rows are one stage"),
    ("stages", "what else runs together, and what has to wait"),
    ("map-only-merging", "stages without a shuffle that write to one place are one"),
    ("local-choice", "a stage that reads little needs one process only"),
    ("switch-joins", "a shuffled join may still do without when its sides are measured"),
];

pub(super) fn pass(name: &str) -> Option<&'static str> {
    ABOUT.iter().find(|(pass, _)| *pass == name).map(|(_, about)| *about)
}
