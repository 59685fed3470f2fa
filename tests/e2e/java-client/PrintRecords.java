import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Prints every record of a topic, a line each: partition, offset, type of the timestamp, timestamp, key, value and name=value
 * of each header, between tabs; keys, values and names in base64, "-" for null.
 */
class PrintRecords {
  public static void main(String[] args) {
    var settings = new Properties();
    settings.put("bootstrap.servers", args[0]);
    settings.put("isolation.level", "read_committed");
    try (var consumer =
        new KafkaConsumer<byte[], byte[]>(
            settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
      List<TopicPartition> partitions =
          consumer.partitionsFor(args[1]).stream()
              .map(each -> new TopicPartition(each.topic(), each.partition()))
              .toList();
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      var ends = consumer.endOffsets(partitions);
      while (partitions.stream().anyMatch(each -> consumer.position(each) < ends.get(each))) {
        for (var record : consumer.poll(Duration.ofSeconds(1))) System.out.println(line(record));
      }
    }
  }

  private static String line(ConsumerRecord<byte[], byte[]> record) {
    var line = new StringBuilder();
    line.append(record.partition()).append('\t').append(record.offset());
    line.append('\t').append(record.timestampType()).append('\t').append(record.timestamp());
    line.append('\t').append(text(record.key())).append('\t').append(text(record.value()));
    for (Header header : record.headers()) {
      var name = header.key().getBytes(StandardCharsets.UTF_8);
      line.append('\t').append(text(name)).append('=').append(text(header.value()));
    }
    return line.toString();
  }

  private static String text(byte[] bytes) {
    return bytes == null ? "-" : Base64.getEncoder().withoutPadding().encodeToString(bytes);
  }
}
