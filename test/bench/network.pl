# Prints the median of a connect() in milliseconds (own: to a listener of its own;
# connect PORT HOST: to another's), or holds connections until its input ends (idle PORT N).
use strict;
use IO::Socket::INET;
use Time::HiRes qw(time);
$| = 1;
my ($what, $port, $more) = @ARGV;
my ($host, $own) = ("10.0.2.2");
$host = $more if $what eq "connect";
if ($what eq "own") {
	$own = IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1024) or die "$!\n";
	($host, $port) = ("127.0.0.1", $own->sockport);
}
if ($what eq "idle") {
	my @held;
	push @held, IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port) || die "$!\n" for 1 .. $more;
	print "open\n";
	sysread STDIN, my $end, 1;
	exit 0;
}
my @took;
for (1 .. 100) {
	my $begin = time;
	my $c = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port) or die "$!\n";
	push @took, 1000 * (time - $begin);
	close $c;
}
printf "%.3f\n", (sort { $a <=> $b } @took)[50];
