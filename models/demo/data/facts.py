"""A closed world of common knowledge, in tables. `FACTS` is a list of (questions, short answer, full sentence)."""

from .grammar import a
from .words import DAYS, MONTHS, NUMBER_WORDS, phrases, words


def table(text: str) -> list[tuple[str, ...]]:
    """Rows of `key = value = …`, separated by commas or line ends."""
    return [tuple(part.strip() for part in item.split("=")) for item in phrases(text)]


CAPITALS = table("""
France=Paris, Germany=Berlin, Italy=Rome, Spain=Madrid, Portugal=Lisbon, England=London, Scotland=Edinburgh, Wales=Cardiff, Ireland=Dublin, Norway=Oslo, Sweden=Stockholm,
Denmark=Copenhagen, Finland=Helsinki, Iceland=Reykjavik, Poland=Warsaw, Austria=Vienna, Hungary=Budapest, Greece=Athens, Bulgaria=Sofia, Romania=Bucharest, Serbia=Belgrade,
Croatia=Zagreb, Slovenia=Ljubljana, Slovakia=Bratislava, Belgium=Brussels, Switzerland=Bern, Ukraine=Kyiv, Russia=Moscow, Turkey=Ankara, Estonia=Tallinn, Latvia=Riga,
Lithuania=Vilnius, Albania=Tirana, Malta=Valletta, Cyprus=Nicosia, Egypt=Cairo, Morocco=Rabat, Tunisia=Tunis, Algeria=Algiers, Libya=Tripoli, Kenya=Nairobi, Ghana=Accra,
Nigeria=Abuja, Ethiopia=Addis Ababa, Senegal=Dakar, Uganda=Kampala, Rwanda=Kigali, Angola=Luanda, Zambia=Lusaka, Zimbabwe=Harare, Mozambique=Maputo, Namibia=Windhoek,
China=Beijing, Japan=Tokyo, India=New Delhi, Pakistan=Islamabad, Bangladesh=Dhaka, Nepal=Kathmandu, Thailand=Bangkok, Vietnam=Hanoi, Indonesia=Jakarta, Malaysia=Kuala Lumpur,
Iran=Tehran, Iraq=Baghdad, Syria=Damascus, Jordan=Amman, Lebanon=Beirut, Qatar=Doha, Mongolia=Ulaanbaatar, Georgia=Tbilisi, Armenia=Yerevan, Australia=Canberra,
Canada=Ottawa, Mexico=Mexico City, Cuba=Havana, Jamaica=Kingston, Brazil=Brasilia, Argentina=Buenos Aires, Chile=Santiago, Peru=Lima, Colombia=Bogota, Ecuador=Quito, Uruguay=Montevideo, Venezuela=Caracas""")
LANGUAGES_OF = table("""
France=French, Germany=German, Italy=Italian, Spain=Spanish, Portugal=Portuguese, England=English, Norway=Norwegian, Sweden=Swedish, Denmark=Danish, Finland=Finnish,
Iceland=Icelandic, Poland=Polish, Austria=German, Hungary=Hungarian, Greece=Greek, Turkey=Turkish, Russia=Russian, Ukraine=Ukrainian, Egypt=Arabic, Morocco=Arabic, China=Chinese,
Japan=Japanese, Thailand=Thai, Vietnam=Vietnamese, Iran=Persian, Brazil=Portuguese, Mexico=Spanish, Argentina=Spanish, Chile=Spanish, Peru=Spanish, Australia=English, Romania=Romanian""")
CONTINENTS = table("""
France=Europe, Germany=Europe, Italy=Europe, Spain=Europe, Norway=Europe, Sweden=Europe, Poland=Europe, Greece=Europe, Ireland=Europe, Austria=Europe, Egypt=Africa, Kenya=Africa,
Ghana=Africa, Nigeria=Africa, Morocco=Africa, Uganda=Africa, China=Asia, Japan=Asia, India=Asia, Nepal=Asia, Thailand=Asia, Vietnam=Asia, Iran=Asia, Canada=North America, Mexico=North America,
Cuba=North America, Brazil=South America, Argentina=South America, Chile=South America, Peru=South America""")
OPPOSITES = table("""
hot=cold, big=small, tall=short, long=short, fast=slow, old=new, young=old, light=dark, light=heavy, hard=soft, wet=dry, full=empty, open=closed, high=low, near=far, early=late,
good=bad, right=wrong, left=right, up=down, in=out, day=night, black=white, rich=poor, strong=weak, thick=thin, wide=narrow, deep=shallow, loud=quiet, clean=dirty, happy=sad,
easy=difficult, cheap=expensive, first=last, begin=end, push=pull, win=lose, buy=sell, come=go, give=take, ask=answer, love=hate, always=never, above=below, before=after, inside=outside,
north=south, east=west, summer=winter, true=false, yes=no, sweet=sour, smooth=rough, sharp=blunt, brave=afraid, friend=enemy, start=stop, arrive=leave, remember=forget, laugh=cry,
question=answer, top=bottom, front=back, many=few, more=less, same=different, alive=dead, awake=asleep, asleep=awake, safe=dangerous, visible=invisible, possible=impossible, known=unknown""")
PLURALS = table("""
child=children, man=men, woman=women, foot=feet, tooth=teeth, goose=geese, mouse=mice, ox=oxen, sheep=sheep, deer=deer, fish=fish, leaf=leaves, knife=knives, wolf=wolves, life=lives, wife=wives,
half=halves, loaf=loaves, shelf=shelves, thief=thieves, calf=calves, city=cities, baby=babies, lady=ladies, story=stories, country=countries, berry=berries, fly=flies, box=boxes, fox=foxes,
bus=buses, glass=glasses, dish=dishes, church=churches, watch=watches, potato=potatoes, tomato=tomatoes, hero=heroes, piano=pianos, photo=photos, dog=dogs, cat=cats, house=houses, tree=trees,
book=books, key=keys, boy=boys, day=days, toy=toys, person=people, louse=lice, cactus=cacti, crisis=crises, roof=roofs, chair=chairs, apple=apples, lamp=lamps, horse=horses, bird=birds""")
PAST = table("""
go=went, see=saw, come=came, eat=ate, drink=drank, run=ran, write=wrote, read=read, sing=sang, swim=swam, take=took, give=gave, buy=bought, bring=brought, think=thought, catch=caught, teach=taught,
find=found, lose=lost, sleep=slept, keep=kept, feel=felt, leave=left, meet=met, sit=sat, stand=stood, fall=fell, fly=flew, grow=grew, know=knew, draw=drew, break=broke, speak=spoke, choose=chose,
drive=drove, ride=rode, begin=began, build=built, send=sent, spend=spent, hear=heard, hold=held, make=made, say=said, tell=told, sell=sold, pay=paid, cut=cut, put=put, walk=walked, play=played, try=tried, be=was, have=had, do=did, win=won, wear=wore, hide=hid""")
COLOURS_OF = table("""
grass=green, snow=white, blood=red, coal=black, a lemon=yellow, a banana=yellow, an orange=orange, a carrot=orange, the sky=blue, the sea=blue, a tomato=red, a strawberry=red, milk=white, chocolate=brown,
a frog=green, a crow=black, a flamingo=pink, an elephant=grey, salt=white, a leaf in summer=green, the sun=yellow, a raven=black, a swan=white, gold=yellow, an emerald=green, a ruby=red, a plum=purple, a cucumber=green, chalk=white, ash=grey, a fire truck=red, a pig=pink, tea=brown, butter=yellow""")
SOUNDS = table("""
dog=barks, cat=meows, cow=moos, sheep=bleats, horse=neighs, pig=grunts, duck=quacks, hen=clucks, frog=croaks, lion=roars, wolf=howls, owl=hoots, bee=buzzes, snake=hisses, bird=sings, mouse=squeaks, donkey=brays, crow=caws, goat=bleats, bear=growls, elephant=trumpets""")
YOUNG = table("""
dog=puppy, cat=kitten, cow=calf, horse=foal, sheep=lamb, goat=kid, pig=piglet, hen=chick, duck=duckling, goose=gosling, bear=cub, lion=cub, deer=fawn, kangaroo=joey, frog=tadpole, swan=cygnet, fox=cub, wolf=pup, seal=pup, owl=owlet""")
LEGS = table("""
dog=four, cat=four, horse=four, cow=four, hen=two, duck=two, owl=two, ant=six, bee=six, beetle=six, butterfly=six, spider=eight, snake=zero, fish=zero, frog=four, crab=ten, elephant=four, lion=four, mouse=four, penguin=two, ostrich=two, octopus=zero""")
CLASSES = table("""
dog=mammal, cat=mammal, horse=mammal, cow=mammal, whale=mammal, dolphin=mammal, bat=mammal, mouse=mammal, elephant=mammal, owl=bird, eagle=bird, hen=bird, duck=bird, penguin=bird, robin=bird, crow=bird, salmon=fish, trout=fish, shark=fish, frog=amphibian, toad=amphibian,
snake=reptile, lizard=reptile, turtle=reptile, crocodile=reptile, ant=insect, bee=insect, beetle=insect, butterfly=insect, fly=insect, seal=mammal, lion=mammal, tiger=mammal, fox=mammal, swan=bird, parrot=bird""")
FOOD_OF = table("""
cow=grass, horse=grass and hay, sheep=grass, rabbit=grass and leaves, squirrel=nuts, bee=nectar, frog=insects, owl=mice, cat=mice and meat, lion=meat, panda=bamboo, koala=leaves, giraffe=leaves, otter=fish, seal=fish, penguin=fish, heron=fish, hedgehog=insects and worms, monkey=fruit, goat=grass and leaves, bear=berries and fish, swallow=insects, mole=worms, beaver=bark and leaves""")
HOMES = table("""
bee=hive, bird=nest, fox=den, bear=den, dog=kennel, horse=stable, cow=barn, spider=web, rabbit=burrow, ant=anthill, lion=den, hen=henhouse, pig=sty, beaver=lodge, eagle=nest, mole=burrow, fish=water, whale=sea, king=castle, monk=monastery""")
WORKERS = table("""
bread=baker, shoes=shoemaker, furniture=carpenter, clothes=tailor, books=writer, pictures=painter, pots=potter, music=musician, cloth=weaver, poems=poet, houses=builder, honey=beekeeper, watches=watchmaker, glasses=optician, songs=singer, horseshoes=blacksmith, maps=mapmaker""")
JOB_TASKS = table("""
teacher=teaches children, doctor=treats ill people, farmer=grows food, pilot=flies a plane, sailor=works on a ship, cook=prepares meals, judge=decides in court, nurse=cares for ill people, baker=bakes bread, plumber=mends pipes, gardener=looks after plants, librarian=looks after books,
fisherman=catches fish, butcher=sells meat, barber=cuts hair, dentist=looks after teeth, shepherd=looks after sheep, locksmith=opens and makes locks, dancer=dances, postman=brings letters, mechanic=repairs machines, tailor=makes clothes, miller=makes flour, waiter=serves food, astronomer=studies the stars""")
UNITS = table("""
seconds in a minute=60, minutes in an hour=60, hours in a day=24, days in a week=7, months in a year=12, days in a year=365, weeks in a year=52, years in a century=100, years in a decade=10, metres in a kilometre=1000, centimetres in a metre=100, grams in a kilogram=1000, millimetres in a centimetre=10,
sides in a triangle=3, sides in a square=4, sides in a pentagon=5, sides in a hexagon=6, corners in a cube=8, faces in a cube=6, legs on a spider=8, legs on an ant=6, legs on a dog=4, wheels on a bicycle=2, wheels on a car=4, letters in the English alphabet=26, seasons in a year=4, fingers on a hand=5, eggs in a dozen=12,
strings on a violin=4, strings on a guitar=6, planets in the solar system=8, bits in a byte=8, players in a football team=11, squares on a chess board=64, keys on a piano=88, continents on Earth=7, minutes in a quarter of an hour=15, days in February of a common year=28, days in April=30, days in July=31""")
MADE_OF = table("""
bread=flour, paper=wood, glass=sand, cheese=milk, butter=milk, wine=grapes, ice=water, a candle=wax, wool=the hair of sheep, leather=skin, raisins=grapes, chocolate=cocoa beans, jam=fruit and sugar, a brick=clay, steel=iron, honey=nectar, a window=glass, a tyre=rubber, silk=the thread of a caterpillar, oil for salad=olives or seeds, juice=fruit, noodles=flour and water, yogurt=milk, cotton cloth=cotton""")
USED_FOR = table("""
a hammer=driving nails, a saw=cutting wood, a key=opening a lock, a broom=sweeping the floor, a lamp=giving light, an umbrella=keeping off the rain, a needle=sewing, a pen=writing, scissors=cutting paper or cloth, a clock=telling the time, a compass=finding north, a thermometer=measuring temperature,
a telescope=looking at the stars, a ladder=climbing up, a spoon=eating soup, a pillow=resting the head, an oven=baking, a map=finding the way, a bucket=carrying water, a shovel=digging, a ruler=measuring length, a mirror=seeing oneself, an anchor=holding a ship, soap=washing, a kettle=boiling water, a fridge=keeping food cold, a bell=giving a signal, a tent=sleeping outside""")
SEASON_FACTS = table("""
snow=winter, falling leaves=autumn, the longest day=summer, new leaves=spring, the shortest day=winter, the hottest weather=summer""")
GENERAL = [
    ("What is the largest planet?", "Jupiter", "The largest planet of the solar system is Jupiter."), ("Which planet do we live on?", "Earth", "We live on the planet Earth."),
    ("What is the largest ocean?", "the Pacific", "The largest ocean is the Pacific."), ("What is the highest mountain?", "Mount Everest", "The highest mountain on Earth is Mount Everest."),
    ("What is the largest animal?", "the blue whale", "The largest animal is the blue whale."), ("What is the fastest land animal?", "the cheetah", "The fastest land animal is the cheetah."),
    ("What is the tallest animal?", "the giraffe", "The tallest animal is the giraffe."), ("Where does the sun rise?", "in the east", "The sun rises in the east."), ("Where does the sun set?", "in the west", "The sun sets in the west."),
    ("What do plants need to grow?", "light, water and air", "Plants need light, water and air."), ("At what temperature does water freeze?", "0 degrees", "Water freezes at 0 degrees Celsius."),
    ("At what temperature does water boil?", "100 degrees", "Water boils at 100 degrees Celsius."), ("What do bees make?", "honey", "Bees make honey."), ("What is frozen water called?", "ice", "Frozen water is called ice."),
    ("Which star is nearest to us?", "the sun", "The star nearest to us is the sun."), ("What moves around the Earth?", "the moon", "The moon moves around the Earth."), ("How many moons does the Earth have?", "one", "The Earth has one moon."),
    ("What gas do we need to breathe?", "oxygen", "We need oxygen to breathe."), ("Which organ pumps the blood?", "the heart", "The heart pumps the blood."), ("With what do we hear?", "the ears", "We hear with our ears."), ("With what do we see?", "the eyes", "We see with our eyes."),
    ("What do you call a baby cat?", "kitten", "A baby cat is called a kitten."), ("Which metal is liquid?", "mercury", "Mercury is a liquid metal."), ("Which metal is pulled by a magnet?", "iron", "Iron is pulled by a magnet."),
    ("What is the longest river in Africa?", "the Nile", "The longest river in Africa is the Nile."), ("Which continent is the largest?", "Asia", "Asia is the largest continent."), ("Which continent is the smallest?", "Australia", "Australia is the smallest continent."),
    ("Who wrote Hamlet?", "William Shakespeare", "Hamlet was written by William Shakespeare."), ("What colours do you mix to get green?", "blue and yellow", "Blue and yellow make green."), ("What colours do you mix to get orange?", "red and yellow", "Red and yellow make orange."),
    ("What colours do you mix to get purple?", "red and blue", "Red and blue make purple."), ("What colour do black and white make?", "grey", "Black and white make grey."), ("Is a whale a fish?", "no", "No, a whale is a mammal."), ("Is a tomato a fruit?", "yes", "Yes, a tomato is a fruit."),
    ("Can penguins fly?", "no", "No, penguins cannot fly, but they swim very well."), ("Can fish breathe under water?", "yes", "Yes, fish breathe under water with gills."), ("Do snakes have legs?", "no", "No, snakes have no legs."), ("Does wood float?", "yes", "Yes, most wood floats on water."),
    ("Which is faster, light or sound?", "light", "Light is much faster than sound."), ("What falls from clouds?", "rain or snow", "Rain or snow falls from clouds."), ("What is the opposite of up?", "down", "The opposite of up is down."), ("What is a group of wolves called?", "a pack", "A group of wolves is called a pack."),
    ("What is a group of sheep called?", "a flock", "A group of sheep is called a flock."), ("What is a group of fish called?", "a school", "A group of fish is called a school."), ("What is a group of bees called?", "a swarm", "A group of bees is called a swarm."), ("Who looks after the teeth?", "a dentist", "A dentist looks after the teeth."),
]  # fmt: skip
SIZES = words("ant bee mouse frog sparrow crow rabbit cat fox dog sheep pig deer lion horse cow camel rhino elephant whale")

FACTS: list[tuple[list[str], str, str]] = []


def fact(questions: list[str], short: str, full: str):
    FACTS.append((questions, short, full))


def fill():
    for country, city in CAPITALS:
        fact([f"What is the capital of {country}?", f"Which city is the capital of {country}?", f"Name the capital of {country}.", f"Tell me the capital of {country}.", f"What's the capital city of {country}?", f"capital of {country}?"], city, f"The capital of {country} is {city}.")
        fact([f"Of which country is {city} the capital?", f"{city} is the capital of which country?", f"In which country is {city}?"], country, f"{city} is the capital of {country}.")
    for country, language in LANGUAGES_OF:
        fact([f"Which language do people speak in {country}?", f"What is the language of {country}?", f"What do people speak in {country}?"], language, f"People in {country} speak {language}.")
    for country, continent in CONTINENTS:
        fact([f"On which continent is {country}?", f"Where is {country}?", f"In what part of the world is {country}?"], continent, f"{country} is in {continent}.")
    for one, other in OPPOSITES:
        if sum(key == one for key, _ in OPPOSITES) == 1:
            fact([f"What is the opposite of {one}?", f"Opposite of {one}?", f"Give me the opposite of \"{one}\".", f"Which word means the opposite of {one}?"], other, f"The opposite of {one} is {other}.")
    for one, many in PLURALS:
        fact([f"What is the plural of {one}?", f"Plural of \"{one}\"?", f"One {one}, two ...?", f"How do you write more than one {one}?"], many, f"The plural of {one} is {many}.")
    for now, past in PAST:
        fact([f"What is the past tense of {now}?", f"Past tense of \"{now}\"?", f"Put \"{now}\" into the past.", f"What is the past of to {now}?"], past, f"The past tense of {now} is {past}.")
    for thing, colour in COLOURS_OF:
        fact([f"What colour is {thing}?", f"Which colour does {thing} have?", f"Tell me the colour of {thing}."], colour, f"{thing[0].upper()}{thing[1:]} is {colour}.")
    for animal, sound in SOUNDS:
        fact([f"What sound does {a(animal)} make?", f"What does {a(animal)} do when it makes a sound?"], sound, f"{a(animal).capitalize()} {sound}.")
    for animal, young in YOUNG:
        fact([f"What is a young {animal} called?", f"What do you call a baby {animal}?", f"Name the young of {a(animal)}."], young, f"A young {animal} is called {a(young)}.")
    for animal, legs in LEGS:
        legs_text = "no legs" if legs == "zero" else f"{legs} legs"
        fact([f"How many legs does {a(animal)} have?", f"Number of legs of {a(animal)}?"], legs, f"{a(animal).capitalize()} has {legs_text}." if animal != "fish" else "A fish has no legs.")
    for animal, class_ in CLASSES:
        fact([f"What kind of animal is {a(animal)}?", f"To which group of animals does {a(animal)} belong?"], class_, f"{a(animal).capitalize()} is {a(class_) if class_ != 'fish' else 'a fish'}.")
        wrong = "bird" if class_ != "bird" else "mammal"
        fact([f"Is {a(animal)} {a(wrong)}?"], "no", f"No, {a(animal)} is {a(class_)}.")
        fact([f"Is {a(animal)} {a(class_)}?"], "yes", f"Yes, {a(animal)} is {a(class_)}.")
    for animal, food in FOOD_OF:
        fact([f"What does {a(animal)} eat?", f"What do you feed {a(animal)}?", f"Food of {a(animal)}?"], food, f"{a(animal).capitalize()} eats {food}.")
    for animal, home in HOMES:
        fact([f"Where does {a(animal)} live?", f"What is the home of {a(animal)}?"], home, f"{a(animal).capitalize()} lives in {a(home) if home not in ('water', 'sea') else 'the ' + home}.")
    for thing, worker in WORKERS:
        fact([f"Who makes {thing}?", f"Which job makes {thing}?"], worker, f"{a(worker).capitalize()} makes {thing}.")
    for job, task in JOB_TASKS:
        fact([f"What does {a(job)} do?", f"What is the work of {a(job)}?"], task, f"{a(job).capitalize()} {task}.")
    for thing, count in UNITS:
        unit, container = thing.split(" ", 1)
        fact([f"How many {unit} are {container}?", f"Tell me the number of {thing}."], count, f"There are {count} {thing}.")
    for thing, material in MADE_OF:
        fact([f"What is {thing} made of?", f"From what do you make {thing}?"], material, f"{thing[0].upper()}{thing[1:]} is made of {material}." if thing != "raisins" else "Raisins are made of grapes.")
    for thing, use in USED_FOR:
        verb = "are" if thing == "scissors" else "is"
        fact([f"What {verb} {thing} for?", f"What do you use {thing} for?", f"For what do people use {thing}?"], use, f"{thing[0].upper()}{thing[1:]} {verb} used for {use}.")
    for thing, season in SEASON_FACTS:
        fact([f"Which season has {thing}?", f"In which season is there {thing}?"], season, f"In {season} there is {thing}." if thing in ("snow",) else f"{thing[0].upper()}{thing[1:]} belongs to {season}.")
    ordered(DAYS, "day")
    ordered(MONTHS, "month")
    for i, month in enumerate(MONTHS):
        ordinal = words("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth")[i]
        fact([f"What is the {ordinal} month?", f"Name the {ordinal} month of the year."], month, f"The {ordinal} month of the year is {month}.")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for one, other in zip(letters, letters[1:]):
        fact([f"Which letter comes after {one}?", f"What letter follows {one}?"], other, f"After {one} comes {other}.")
    for i, word in enumerate(NUMBER_WORDS):
        fact([f"Write the number {i} as a word.", f"How do you spell {i}?"], word, f"The number {i} is written {word}.")
        fact([f"Write {word} as a number.", f"Which number is {word}?"], str(i), f"{word.capitalize()} is {i}.")
        if i:
            fact([f"Which number comes before {word}?"], NUMBER_WORDS[i - 1], f"Before {word} comes {NUMBER_WORDS[i - 1]}.")
            fact([f"Which number comes after {NUMBER_WORDS[i - 1]}?"], word, f"After {NUMBER_WORDS[i - 1]} comes {word}.")
    for i, small in enumerate(SIZES):
        for large in SIZES[i + 3 :: 3]:
            fact([f"Which is bigger, {a(small)} or {a(large)}?", f"Is {a(large)} or {a(small)} bigger?"], a(large), f"{a(large).capitalize()} is bigger than {a(small)}.")
            fact([f"Which is smaller, {a(large)} or {a(small)}?"], a(small), f"{a(small).capitalize()} is smaller than {a(large)}.")
            fact([f"Is {a(small)} bigger than {a(large)}?"], "no", f"No, {a(small)} is smaller than {a(large)}.")
            fact([f"Is {a(large)} bigger than {a(small)}?"], "yes", f"Yes, {a(large)} is bigger than {a(small)}.")
    for question, short, full in GENERAL:
        fact([question, question.replace("What is", "What's") if "What is" in question else "Do you know: " + question[0].lower() + question[1:]], short, full)


def ordered(names: list, kind: str):
    count = len(names)
    for i, name in enumerate(names):
        after, before = names[(i + 1) % count], names[i - 1]
        fact([f"Which {kind} comes after {name}?", f"What {kind} follows {name}?", f"What is the {kind} after {name}?"], after, f"After {name} comes {after}.")
        fact([f"Which {kind} comes before {name}?", f"What is the {kind} before {name}?"], before, f"Before {name} comes {before}.")


fill()
