# What people do to a root, timed in a directory: a line "NAME MILLISECONDS" for each thing.
use strict;
use warnings;
use Time::HiRes qw(time);
use IO::Handle;

my ($root, $tree) = @ARGV;    # the file system, and where the image's files are in it
my $dir = "$root/bench";
mkdir $dir or die "$dir: $!";

sub timed {
	my ($name, $do) = @_;
	system "sync";
	my $begin = time;
	$do->();
	printf "%s %.1f\n", $name, 1000 * (time - $begin);
	STDOUT->flush;
}

sub run { system("sh", "-ec", @_) == 0 or die "@_: $?" }

sub synced {
	my ($f) = @_;
	$f->flush;
	$f->sync or die $!;
}

my $block = "x" x 4096;
run "sync; echo 3 >/proc/sys/vm/drop_caches";
timed "cold read of the image's tree", sub { run "tar -cf - -C $tree usr/share usr/lib/systemd usr/bin 2>/dev/null | wc -c >/dev/null" };
timed "copy of 3,000 files, sync", sub { run "cd $tree && find usr/share -xdev -type f | sort | head -3000 | tar -cf - -T - 2>/dev/null | tar -xf - -C $dir; sync" };
timed "append to 200 of the image's files, sync", sub { run "cd $tree && find usr/share/zoneinfo usr/share/doc -xdev -type f | sort | head -200 | while read f; do echo x >>\$f; done; sync" };
timed "rm -rf of the copy, sync", sub { run "rm -rf $dir/usr; sync" };
timed "200 MB, fsync", sub { run "dd if=/dev/zero of=$dir/big bs=1M count=200 conv=fsync 2>/dev/null" };

open(my $f, ">", "$dir/blocks") or die $!;
my $blocks = sub {
	for my $n (0 .. 199) {
		sysseek $f, $n * 4096, 0;
		syswrite $f, $block;
		synced($f);
	}
};
timed "200 x (4 KiB to a new block, fsync)", $blocks;
timed "the same over old blocks", $blocks;
timed "300 x (new file, fsync, rename)", sub {
	for my $n (0 .. 299) {
		open(my $g, ">", "$dir/new") or die $!;
		syswrite $g, $block;
		synced($g);
		close $g;
		rename "$dir/new", "$dir/file-$n" or die $!;
	}
};
timed "200 transactions with a rollback journal", sub {
	for my $n (0 .. 199) {
		open(my $j, ">", "$dir/journal") or die $!;
		syswrite $j, $block;
		synced($j);
		sysseek $f, $n * 4096, 0;
		syswrite $f, $block;
		synced($f);
		close $j;
		unlink "$dir/journal";
	}
};
timed "300 x (8 KiB, fsync) in a file written before", sub {
	for my $n (0 .. 299) {
		sysseek $f, ($n % 100) * 8192, 0;
		syswrite $f, $block . $block;
		synced($f);
	}
};
run "rm -rf $dir";
