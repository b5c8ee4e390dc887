//! Sources over files: compressed, split, cut short.

use std::io::Write;

use super::*;

fn gz(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn bz2(content: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zst(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 1).unwrap()
}

#[test]
fn compressed_files_are_read_to_the_end_of_all_their_members() {
    let compressors: [(&str, fn(&[u8]) -> Vec<u8>); 3] = [("in.gz", gz), ("in.bz2", bz2), ("in.zst", zst)];
    for (name, compress) in compressors {
        let members = [compress(b"a,1\nb"), compress(b""), compress(b",2\n"), compress(b"c,3")].concat();
        let fixture = Fixture::new([(name, &members)]);
        assert_eq!(fixture.text(&files(Format::Text, &[name])), "a,1\nb,2\nc,3\n", "{name}");
        assert_eq!(fixture.text(&files(Format::Csv(csv()), &[name])), "a|1\nb|2\nc|3\n", "{name}");
    }
}

#[test]
fn a_compressed_file_that_is_cut_off_or_damaged_fails_with_its_name() {
    let content: Vec<u8> = (0..20_000).flat_map(|i| format!("{i}\n").into_bytes()).collect();
    let compressors: [(&str, fn(&[u8]) -> Vec<u8>); 3] = [("in.gz", gz), ("in.bz2", bz2), ("in.zst", zst)];
    for (name, compress) in compressors {
        let whole = compress(&content);
        for len in [0, 3, whole.len() / 2, whole.len() - 1] {
            let fixture = Fixture::new([(name, &whole[..len])]);
            let error = fixture.error(&files(Format::Text, &[name]));
            assert!(error.contains("failed to decompress in."), "{name} cut to {len}: {error}");
        }
        let second_cut = [&whole[..], &whole[..whole.len() / 2]].concat();
        let trailing = [&whole[..], b"garbage"].concat();
        for damaged in [second_cut, trailing] {
            let fixture = Fixture::new([(name, &damaged)]);
            assert!(fixture.error(&files(Format::Text, &[name])).contains("failed to decompress in."), "{name}");
        }
    }
}

#[test]
fn several_files_follow_each_other_by_name() {
    let fixture = Fixture::new([("b.txt", b"3\n4"), ("a.txt", b"1\n2\n"), ("c.txt", b""), ("d.txt", b"5")]);
    assert_eq!(fixture.text(&files(Format::Text, &["*.txt"])), "1\n2\n3\n4\n5\n");
    assert_eq!(fixture.text(&files(Format::Text, &["d.txt", "a.txt", "a.txt"])), "5\n1\n2\n1\n2\n");
}

#[test]
fn every_file_has_the_header_of_the_first() {
    let header = Format::Csv(CsvOptions { header: true, ..csv() });
    let fixture =
        Fixture::new([("0.csv", b""), ("1.csv", b"a,b\n1,2\n"), ("2.csv", b"\"a\",b\r\n3,4\n"), ("3.csv", b"a,c\n5,6\n")]);
    assert_eq!(fixture.text(&files(header.clone(), &["0.csv", "1.csv", "2.csv"])), "1|2\n3|4\n");
    let error = fixture.error(&files(header, &["*.csv"]));
    assert!(error.contains("3.csv has other columns than 1.csv") && error.contains("(a, c), not (a, b)"), "{error}");
}

#[test]
fn files_are_rows_of_path_and_content_and_so_are_the_members_of_a_zip() {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.add_directory("d/", options).unwrap();
    for (name, content) in [("d/x.txt", "first\n"), ("y.txt", "second")] {
        zip.start_file(name, options.compression_method(zip::CompressionMethod::Deflated)).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    let zip = zip.finish().unwrap().into_inner();
    let fixture = Fixture::new([("a.bin", b"\x00\xff"), ("b.zip", &zip), ("c.gz", &gz(b"text"))]);
    let rows = fixture.rows(&files(Format::Whole, &["*"])).unwrap();
    let text = |text: &[u8]| Value::Str(text.to_vec());
    let expected: [[&[u8]; 2]; 4] =
        [[b"a.bin", b"\x00\xff"], [b"b.zip/d/x.txt", b"first\n"], [b"b.zip/y.txt", b"second"], [b"c.gz", b"text"]];
    assert_eq!(rows, expected.map(|row| row.map(text).to_vec()));

    let fixture = Fixture::new([("b.zip", &zip[..zip.len() - 5])]);
    assert!(fixture.error(&files(Format::Whole, &["b.zip"])).contains("b.zip is malformed"));
}

#[test]
fn a_missing_file_fails_with_its_path() {
    let fixture = Fixture::new([("a.txt", b"1\n")]);
    assert!(fixture.error(&files(Format::Text, &["a.txt", "gone.txt"])).contains("nothing found at \"gone.txt\""));
    let paths = Paths::Listed(vec!["gone*".to_owned()]);
    let source = Source::Files { format: Format::Text, paths, allow_empty: true };
    assert_eq!(fixture.text(&source), "");
}

#[test]
fn a_file_that_shrinks_while_it_is_read_fails() {
    let fixture = Fixture::new([("in", b"1\n2\n3\n")]);
    let source = files(Format::Text, &["in"]);
    let splits = list(&source, None, &fixture.run, Wanted { partitions: None, threads: 1, steps: 1 }).unwrap();
    fs::write(fixture.dir.path().join("in"), "1\n").unwrap();
    let ctx = TaskContext::new(Arc::clone(&fixture.run), 0);
    let error = read(&splits[0], &source, &ctx, "step", &mut Rows::default()).unwrap_err();
    assert!(plan::in_full(&error).contains("failed to read in: it was cut off"), "{}", plan::in_full(&error));
}

#[test]
fn an_error_further_down_tells_file_and_line() {
    struct Picky<'a>(&'a TaskContext);
    impl RowSink for Picky<'_> {
        fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
            if row[0] == Val::Str(b"bad") { Err(self.0.fail("next", None, "it is bad")) } else { Ok(()) }
        }
        fn finish(&mut self) -> Result<()> {
            Ok(())
        }
    }
    let text = "\"a\nb\",1\nbad,2\nc,3\n";
    let fixture = Fixture::new([("in.csv", text.as_bytes()), ("in.csv.gz", &gz(text.as_bytes()))]);
    for name in ["in.csv", "in.csv.gz"] {
        let source = files(Format::Csv(csv()), &[name]);
        for partitions in [1, 3] {
            let ctx = TaskContext::new(Arc::clone(&fixture.run), 0);
            let splits =
                list(&source, None, &fixture.run, Wanted { partitions: Some(partitions), threads: 1, steps: 1 }).unwrap();
            let errors: Vec<String> = splits
                .iter()
                .filter_map(|split| read(split, &source, &ctx, "step", &mut Picky(&ctx)).err())
                .map(|error| error.to_string())
                .collect();
            assert_eq!(errors, [format!("step \"next\" failed at {name}:3")]);
        }
    }
}

#[test]
fn inspecting_tells_columns_and_size_without_reading_rows() {
    let many: String = (0..50_000).map(|i| format!("{i},x\n")).collect();
    let content = format!("\"a \"\"1\"\"\",b\n{many}broken");
    let fixture = Fixture::new([("in.csv", content.as_bytes()), ("in.csv.gz", &gz(content.as_bytes())), ("t.txt", b"12345")]);
    let inspect = |format: Format, path: &str| inspect(&files(format, &[path]), fixture.dir.path(), &fixture.run.stores).unwrap();
    let header = Format::Csv(CsvOptions { header: true, ..csv() });
    for name in ["in.csv", "in.csv.gz"] {
        let facts = inspect(header.clone(), name);
        assert_eq!(facts.fields, Some(vec!["a \"1\"".to_owned(), "b".to_owned()]));
        assert_eq!(facts.bytes, Some(fs::metadata(fixture.dir.path().join(name)).unwrap().len()));
    }
    assert_eq!(inspect(Format::Csv(csv()), "in.csv").fields, None);
    assert_eq!(inspect(Format::Text, "t.txt"), Facts { fields: None, bytes: Some(5) });
    let columns = Format::Json { columns: Some(vec!["x".to_owned()]) };
    assert_eq!(inspect(columns, "t.txt").fields, Some(vec!["x".to_owned()]));
}
