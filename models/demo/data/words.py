"""Word lists that several kinds of documents share. First names are common given names; no list refers to real persons."""

from .draw import Pool


def words(text: str) -> list[str]:
    return text.split()


def phrases(text: str) -> list[str]:
    return [item.strip() for item in text.replace("\n", ",").split(",") if item.strip()]


FEMALE_NAMES = words("""
Ada Agnes Alba Alice Alma Amara Amina Amy Ana Anja Anna Anouk Asha Astrid Aya Bea Bella Berta Birgit Carla Cara Celia Chloe Clara Cora
Dalia Dana Daisy Delia Dina Dora Edith Eda Ela Elena Elin Elisa Ella Elsa Emi Emma Erika Esme Ester Eva Fanny Farah Fay Fiona Flora Freya
Frida Gemma Gerda Gina Grace Greta Hana Hanna Hazel Heidi Helen Hilda Ida Ilse Ina Inga Ines Irene Iris Isla Ivy Jana Jane Jara Joan
Jolie Josie Judith Julia June Kaia Karin Kate Keiko Kira Klara Lara Laura Layla Lea Leila Lena Lia Lila Lily Lina Linda Liv Lotte Lucy
Luna Lydia Mabel Mae Maja Mara Maren Maria Marta Mary Matilda Maud Maya Mei Mila Mina Mira Molly Mona Nadia Naomi Nell Nina Noa Nora Nuria
Oda Olga Olive Olivia Paula Pearl Petra Pia Polly Priya Rana Rita Rhea Rosa Rose Ruby Ruth Sadie Sage Salma Sana Sara Selma Sena Signe Sofia
Sonja Stella Suki Sunita Tara Tea Tessa Thea Tilda Tina Tove Uma Una Ursula Vera Viola Wanda Willa Yara Yuki Zara Zelda Zoe""")
MALE_NAMES = words("""
Adam Ahmed Aki Alan Albert Alec Ali Amir Amos Anders Andre Anton Arne Aron Arthur Axel Bela Ben Bernard Bilal Boris Bruno Carl Carlos Caspar
Cem Chen Colin Dan Daniel Dario David Dennis Diego Dirk Dylan Edgar Edwin Eli Elias Emil Enzo Eric Ernst Ethan Evan Ezra Felix Filip Finn
Floyd Frank Fred Gabriel George Gil Glen Goran Gus Hakim Hans Harry Hassan Henry Hugo Hugh Ian Igor Ilya Imran Isaac Ivan Ivo Jack Jakob Jamal
James Jan Jasper Jens Jim Jin Joel John Jon Jonas Jorge Josef Juan Jules Kai Karl Kaspar Ken Kenji Kofi Kurt Lars Leo Leon Levi Liam Linus
Louis Luca Lukas Luis Magnus Malik Marc Marco Mario Mark Martin Mateo Max Mehmet Miles Milo Moritz Nathan Ned Neil Nick Niels Nils Noah
Odin Oleg Olaf Oliver Omar Orson Oscar Otis Otto Owen Pablo Palle Paul Pedro Per Peter Phil Pierre Quentin Rafael Ralph Ravi Remy Rex Robin
Roger Roman Ron Rory Ruben Rufus Sam Samir Samuel Sven Seth Simon Soren Stan Stefan Steve Tariq Ted Theo Thomas Tim Tobias Tom Toni Tor Tycho
Umar Uwe Vasco Victor Vito Walter Wei Will Wim Yann Yusuf Zach Zeno""")
PEOPLE = Pool(FEMALE_NAMES + MALE_NAMES)
FEMALE = set(FEMALE_NAMES)
MALE = set(MALE_NAMES)

CITIES = Pool(phrases("""
Accra, Adelaide, Aleppo, Algiers, Amman, Amsterdam, Ankara, Antwerp, Athens, Atlanta, Auckland, Austin, Baghdad, Baku, Bali, Bamako, Bangkok,
Barcelona, Basel, Beijing, Beirut, Belfast, Belgrade, Bergen, Berlin, Bern, Bilbao, Bogota, Bologna, Bombay, Bonn, Bordeaux, Boston, Brasilia,
Bremen, Brest, Brisbane, Bristol, Bruges, Brussels, Bucharest, Budapest, Cairo, Calgary, Cape Town, Caracas, Cardiff, Chennai, Chicago, Cologne,
Copenhagen, Cordoba, Cork, Cusco, Dakar, Dallas, Damascus, Delhi, Denver, Detroit, Dhaka, Doha, Dresden, Dubai, Dublin, Durban, Edinburgh,
Florence, Frankfurt, Geneva, Genoa, Ghent, Glasgow, Granada, Graz, Hamburg, Hanoi, Harare, Havana, Helsinki, Hobart, Houston, Innsbruck, Istanbul,
Izmir, Jaipur, Jakarta, Kabul, Kampala, Karachi, Kiel, Kigali, Kingston, Kobe, Krakow, Kyiv, Kyoto, Lagos, Lahore, Leeds, Leipzig, Lille, Lima,
Linz, Lisbon, Liverpool, London, Luanda, Lucerne, Lusaka, Lyon, Madrid, Malaga, Malmo, Manchester, Manila, Maputo, Marseille, Medina, Melbourne,
Memphis, Miami, Milan, Minsk, Mombasa, Monaco, Montreal, Moscow, Munich, Mumbai, Nairobi, Nantes, Naples, Nashville, New York, Nice, Osaka, Oslo,
Ottawa, Oxford, Palermo, Paris, Parma, Perth, Pisa, Porto, Prague, Quebec, Quito, Rabat, Reykjavik, Riga, Rome, Rotterdam, Salzburg, San Diego,
Santiago, Sarajevo, Seattle, Seoul, Seville, Shanghai, Siena, Singapore, Sofia, Split, Stockholm, Stuttgart, Sydney, Taipei, Tallinn, Tampere,
Tbilisi, Tehran, Tirana, Tokyo, Toledo, Toronto, Toulouse, Trieste, Tripoli, Tunis, Turin, Utrecht, Valencia, Vancouver, Venice, Verona, Vienna,
Vilnius, Warsaw, Wellington, York, Zagreb, Zurich"""))

COLOURS = Pool(words("red blue green yellow white black brown grey orange purple pink golden silver turquoise violet crimson beige teal"))
THINGS = Pool(words("""
apple axe bag ball basket bell belt bench bicycle blanket boat book boot bottle bowl box bracelet bread brick broom brush bucket button cable
camera candle candlestick cap card carpet cart chain chair chalk chest clock cloak coat coin comb compass cord crate crown cup curtain cushion
desk diary dish door drawer dress drum envelope fan feather fence fiddle flag flask flute fork frame glass glove guitar hammer handle harp hat
helmet hook horn jacket jar jug kettle key kite knife ladder lamp lantern letter lid locket lock magnet map mask mat medal mirror mug nail
napkin needle net notebook oar oven pan paper parcel pearl pen pencil piano picture pillow pin pipe plate pocket pot purse puzzle quilt raft
rake ring robe rope rug ruler sack saddle sail saw scarf scissor shawl shelf shell shield shirt shoe shovel sled soap sock spade spoon stamp
stick stone stool stove string suitcase sword table tent thread ticket tie torch towel toy tray trumpet trunk tub umbrella vase vest violin
wagon wallet watch wheel whistle window wire wreath"""))
ADJECTIVES = words("""
old new small large tiny heavy light dusty shiny wooden broken round narrow wide plain fine simple strange pretty soft rough warm cold wet dry
clean dirty quiet loud bright dark deep thin thick smooth sharp strong weak""")
MATERIALS = words("wood iron stone glass paper clay wool silk leather copper brass straw tin steel cotton")
FOODS = Pool(words("""
bread cheese soup rice beans apples pears plums cherries grapes honey butter milk cake pancakes noodles potatoes carrots onions lentils tomatoes
mushrooms eggs fish salad porridge jam nuts olives pumpkin spinach corn dumplings biscuits yogurt oats figs dates lemons oranges peaches berries
cabbage peas garlic ginger tofu pasta pizza waffles muffins raisins walnuts almonds"""))
ANIMALS = Pool(words("""
cat dog horse cow sheep goat pig hen duck goose rabbit mouse rat fox wolf bear deer hare badger hedgehog otter beaver squirrel owl crow raven
sparrow swallow robin stork heron eagle hawk pigeon parrot frog toad snake lizard turtle tortoise bee ant beetle butterfly spider snail crab
seal whale dolphin shark salmon trout lion tiger leopard elephant giraffe zebra camel monkey kangaroo koala panda penguin donkey mule llama"""))
JOBS = Pool(words("""
baker farmer teacher doctor nurse carpenter fisherman sailor tailor painter gardener miller blacksmith potter weaver cook waiter driver pilot
engineer builder plumber librarian shepherd hunter judge clerk merchant musician dancer singer writer poet printer postman barber butcher
beekeeper locksmith watchmaker mechanic electrician astronomer chemist geologist surgeon dentist pharmacist porter ranger"""))
PLACES = Pool(words("""
kitchen garden attic cellar barn stable workshop library school market harbour bridge tower mill forest meadow valley hill mountain lake river
beach island village town castle church station museum theatre bakery shop farm orchard field cave well courtyard square street corner roof hall
bedroom pantry garage office hospital inn park pond greenhouse vineyard lighthouse shed studio"""))
DAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = words("January February March April May June July August September October November December")
NUMBER_WORDS = words("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty")
COMMON_NOUNS = Pool(words("""
table river cloud garden window bottle letter music summer winter forest bridge market engine number picture pocket shadow silver spider station
story sugar thunder ticket tunnel valley village violin weather whisper wonder yellow zebra anchor arrow autumn basket blanket branch breeze
butter button candle castle cellar circle copper corner cottage cotton dragon eagle evening feather finger flower friend garlic ginger glass
hammer harbour hollow honey island jacket jungle kitten ladder lantern lemon magnet marble meadow mirror morning mountain needle nest ocean
orange orchard paper parrot pebble pencil pepper pillow planet plum pocket puzzle rabbit rainbow ribbon rocket saddle salmon shelter signal
sister spring square stone stream sunset temple tiger timber tower travel turtle velvet walnut water whale wheat willow wind wolf"""))


def pronouns(name: str) -> dict[str, str]:
    if name in FEMALE or (name not in MALE and name.endswith(("a", "i", "ai", "ea"))):
        return {"he": "she", "him": "her", "his": "her", "child": "girl", "man": "woman", "parent": "daughter"}
    return {"he": "he", "him": "him", "his": "his", "child": "boy", "man": "man", "parent": "son"}
