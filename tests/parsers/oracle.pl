# Reads create bodies with the form parsers of the Perl world. The format of input and output is
# that of oracle.py.

use strict;
use warnings;
use CGI ();
use HTTP::Body ();
use HTTP::Entity::Parser ();
use JSON::PP ();

my @FIELDS = qw(model seconds size);
my $FILE   = '<file>';

# What an application reads out of [name, value] pairs in the order of the body.
sub read_pairs {
    my %answer = ( first => { map { $_ => undef } @FIELDS }, last => { map { $_ => undef } @FIELDS } );
    for my $pair (@_) {
        my ( $name, $value ) = @$pair;
        next unless defined $name && exists $answer{last}{$name};
        $answer{first}{$name} //= $value;
        $answer{last}{$name} = $value;
    }
    return \%answer;
}

sub pieces {
    my ( $body, $step ) = @_;
    return $step ? unpack( "(a$step)*", $body ) : ($body);
}

sub with_cgi {
    my ( $type, $body, $step ) = @_;
    local %ENV = ( REQUEST_METHOD => 'POST', CONTENT_TYPE => $type, CONTENT_LENGTH => length $body );
    open my $input, '<', \$body or die $!;
    binmode $input;
    local *STDIN = $input;
    CGI::initialize_globals();
    $CGI::LIST_CONTEXT_WARN = 0;
    my $cgi = CGI->new;
    die $cgi->cgi_error if $cgi->cgi_error;
    return map {
        my $name = $_;
        map { [ $name, ref $_ ? $FILE : $_ ] } $cgi->multi_param($name)
    } $cgi->multi_param;
}

sub with_http_body {
    my ( $type, $body, $step ) = @_;
    my $parser = HTTP::Body->new( $type, length $body );
    $parser->cleanup(1);
    $parser->add($_) for pieces( $body, $step );
    die "the body is not complete\n" unless $parser->state eq 'done';
    my $params = $parser->param;
    my @pairs  = map {
        my $name = $_;
        map { [ $name, $_ ] } ref $params->{$name} ? @{ $params->{$name} } : $params->{$name}
    } keys %$params;
    return @pairs, map { [ $_, $FILE ] } keys %{ $parser->upload };
}

sub with_entity_parser {
    my ( $type, $body, $step ) = @_;
    my $parser = HTTP::Entity::Parser->new( buffer_length => $step || 65536 );
    $parser->register( 'multipart/form-data', 'HTTP::Entity::Parser::MultiPart' );
    open my $input, '<', \$body or die $!;
    binmode $input;
    my %environment = (
        REQUEST_METHOD => 'POST', CONTENT_TYPE => $type, CONTENT_LENGTH => length $body,
        'psgi.input'   => $input, 'psgix.input.buffered' => 1,
    );
    my ( $params, $uploads ) = $parser->parse( \%environment );
    my @pairs;
    while ( my ( $name, $value ) = splice @$params,  0, 2 ) { push @pairs, [ $name, $value ] }
    while ( my ( $name, $file )  = splice @$uploads, 0, 2 ) { push @pairs, [ $name, $FILE ] }
    return @pairs;
}

my %FORMS = (
    'perl CGI'                  => \&with_cgi,
    'perl HTTP::Body'           => \&with_http_body,
    'perl HTTP::Entity::Parser' => \&with_entity_parser,
);

sub take {
    my ($length) = @_;
    read( STDIN, my $bytes, $length ) == $length or die 'a record is cut off';
    return $bytes;
}

binmode STDIN;
$| = 0;
my $json = JSON::PP->new->canonical->ascii;
while ( read( STDIN, my $step, 4 ) ) {
    $step = unpack 'N', $step;
    my $type = take( unpack 'N', take(4) );
    my $body = take( unpack 'N', take(4) );
    my %answers;
    unless ( $type =~ /json/i ) {
        for my $name ( keys %FORMS ) {
            local $SIG{__WARN__} = sub { };
            my @pairs = eval { $FORMS{$name}->( $type, $body, $step ) };
            $answers{$name} = $@ ? { error => substr "$@", 0, 200 } : read_pairs(@pairs);
        }
    }
    print $json->encode( \%answers ), "\n";
}
