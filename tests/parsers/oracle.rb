# Reads create bodies with Rack. The format of input and output is that of oracle.py.

require "json"
require "rack"
require "rack/query_parser"
require "rack/multipart/parser"
require "stringio"

FIELDS = %w[model seconds size].freeze
FILE = "<file>"

# Hands out no more at a time than a socket might have.
class Pieces < StringIO
  def initialize(body, step)
    super(body)
    @step = step
  end

  def read(size = nil, buffer = nil)
    size = [size, @step].min if size && @step >= 4096
    super(size, buffer)
  end
end

# Records each parameter as it is added, as well as what is left of it in the end.
class Recorder < Rack::QueryParser
  attr_reader :pairs

  def initialize
    super(Rack::QueryParser::Params, 65_536, 100)
    @pairs = []
  end

  def normalize_params(params, name, value, depth = nil)
    text = value.to_s.dup.force_encoding(Encoding::UTF_8).scrub
    @pairs << [name, value.is_a?(Hash) ? FILE : text]
    super
  end
end

def rack(content_type, body, step)
  parser = Recorder.new
  input = Pieces.new(body, step)
  Rack::Multipart::Parser.parse(
    input, body.bytesize, content_type, Rack::Multipart::Parser::TEMPFILE_FACTORY,
    Rack::Multipart::Parser::BUFSIZE, parser
  )
  parser.pairs
end

def read(pairs)
  first = FIELDS.to_h { |name| [name, nil] }
  last = first.dup
  pairs.each do |name, value|
    next unless last.key?(name)

    first[name] ||= value
    last[name] = value
  end
  { first: first, last: last }
end

def take
  length = $stdin.read(4)
  length && $stdin.read(length.unpack1("N")).to_s
end

$stdin.binmode
while (step = $stdin.read(4))
  content_type = take
  body = take
  answers = {}
  unless content_type.downcase.include?("json")
    name = "rack #{Rack.release}"
    answers[name] =
      begin
        read(rack(content_type, body, step.unpack1("N")))
      rescue StandardError => e
        text = "#{e.class}: ".b + e.message.b
        { error: text.force_encoding(Encoding::UTF_8).scrub[0, 200] }
      end
  end
  puts JSON.generate(answers)
end
